"""Whether Nion Swift finds both plug-ins, asked of Nion's own loader without letting it load one."""

from __future__ import annotations

import importlib
import logging
import sys
import types
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble, warning
from nionswift_plugin.stemctx.needed import there

TOPIC: Final = "plug-ins"
FLAGS: Final = "nionswift_plugin.stemctx"
SIMULATOR: Final = "nionswift_plugin.stemctx_simulator"
_TITLES: Final = {FLAGS: "live defect flags", SIMULATOR: "simulated microscope"}


def check() -> list[Finding]:
    """Whether the plug-ins are listed, their requirements are met, and they can be imported."""
    if not there("nion.swift"):
        return [
            trouble(
                TOPIC,
                f"no plug-in is listed: Nion Swift is not installed in the environment {sys.prefix}",
                "Activate Nion Swift's own environment and run 'python -m pip install .' there, or install Nion Swift "
                'here: pip install "stemctx[plugin]"',
            )
        ]
    try:
        said = ask("plug_ins", timeout_s=90.0)
    except ProbeFailed as error:
        return [
            trouble(
                TOPIC,
                f"Nion Swift's loader of plug-ins does not work: {error}",
                'Install Nion Swift again: pip install --force-reinstall "stemctx[plugin]"',
            )
        ]
    return [_finding(name, said) for name in (FLAGS, SIMULATOR)]


def probe() -> dict[str, Any]:
    """Let Nion's loader choose what it would load, and import what it chose of ours; for a child process.

    The loader lists the namespace, reads manifests, compares requirements and orders plug-ins as ever; only where it
    would import one, an empty module is given to it.
    """
    from nion.swift.model import PlugInManager

    import nionswift_plugin

    would_load: list[str] = []
    log = _Lines()
    logging.getLogger("loader_progress").addHandler(log)
    logging.getLogger("loader_progress").setLevel(logging.INFO)

    def note(path: str, name: str) -> types.ModuleType:
        would_load.append(name)
        return types.ModuleType(name)

    PlugInManager.load_plug_in = note
    PlugInManager.load_plug_ins(None, None, None)
    errors = {}
    for name in (FLAGS, SIMULATOR):
        try:
            importlib.import_module(f"{name}.plug_in")
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
    return {
        "would_load": would_load,
        "folders": [str(p) for p in nionswift_plugin.__path__],
        "log": log.lines,
        "import_errors": errors,
    }


def _finding(name: str, said: dict[str, Any]) -> Finding:
    title = _TITLES[name]
    bad = trouble if name == FLAGS else warning
    if name not in said["would_load"]:
        folder = f"/{name.rpartition('.')[2]}/"
        about = [line for line in said["log"] if f"'{name}'" in line or folder in line.replace("\\", "/")]
        if not about:
            return bad(
                TOPIC,
                f"{title}: Nion Swift does not list {name}; it looks in {', '.join(said['folders'])}",
                "Install stemctx as plain files, not behind an import hook: run 'python -m pip install .' in its folder.",
            )
        return bad(TOPIC, f"{title}: Nion Swift will not load {name}: {' '.join(about[-2:])}", _fix(name))
    if error := said["import_errors"].get(name):
        return bad(TOPIC, f"{title}: listed, but it cannot be imported: {error}", _fix(name))
    return ok(TOPIC, f"{title}: Nion Swift lists {name} and its requirements are met")


def _fix(name: str) -> str:
    extra = "plugin" if name == FLAGS else "simulator"
    return f'Install what it needs: pip install "stemctx[{extra}]"'


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
