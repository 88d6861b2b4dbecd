"""How Nion Swift finds the plug-ins: by listing the namespace, and by their manifests."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nionswift_plugin

OURS = ("stemctx", "stemctx_simulator")


def manifest(name: str) -> dict[str, object]:
    for folder in nionswift_plugin.__path__:
        path = Path(folder, name, "manifest.json")
        if path.exists():
            found: dict[str, object] = json.loads(path.read_text())
            return found
    raise AssertionError(f"{name} has no manifest")


def test_the_namespace_lists_both_beside_nions_own() -> None:
    names = {m.name for m in pkgutil.iter_modules(nionswift_plugin.__path__) if m.ispkg}
    assert {*OURS, "nion_instrumentation_ui", "usim"} <= names


def test_the_namespace_stays_shared() -> None:
    """An `__init__.py` of ours would hide every other plug-in."""
    assert getattr(nionswift_plugin, "__file__", None) is None


@pytest.mark.parametrize("name", OURS)
def test_the_manifest_is_one_that_nion_takes(name: str) -> None:
    said = manifest(name)
    assert re.fullmatch(r"[_\-a-zA-Z][_\-a-zA-Z0-9.]*", str(said["identifier"]))
    assert said["name"]
    assert said["version"]
    requires, modules = said["requires"], said["modules"]
    assert isinstance(requires, list)
    assert isinstance(modules, list)
    assert all(len(r.split()) == 3 and r.split()[1] == "~=" for r in requires)
    assert any(r.startswith("nion.instrumentation-kit ") for r in requires)
    assert all(isinstance(m, str) for m in modules)


def test_only_the_simulator_needs_nions_simulator() -> None:
    """A requirement that is not met keeps a plug-in out, and a real instrument has no simulator."""
    assert "simulator" not in str(manifest("stemctx"))
    assert "nion.simulator_microscope" in str(manifest("stemctx_simulator")["requires"])


@pytest.mark.parametrize("name", OURS)
def test_importing_a_plug_in_imports_nothing_of_nion(name: str) -> None:
    """`stemctx` on the command line imports the package too, where Nion may not be installed."""
    code = (
        f"import nionswift_plugin.{name}, sys\n"
        "print([m for m in sys.modules if m == 'nion' or m.startswith('nion.') or m == 'zmq'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert said.stdout.strip() == "[]"
