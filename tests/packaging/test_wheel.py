"""What is shipped: a wheel with both plug-ins, the bundles and the types, and an editable install that Nion sees."""

import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLUG_INS = {"stemctx", "stemctx_simulator"}
#: As Nion Swift lists plug-ins, without importing one of them.
LIST_PLUG_INS = (
    "import nionswift_plugin, pkgutil, sys;"
    "print(*[m.name for m in pkgutil.iter_modules(nionswift_plugin.__path__)]);"
    "assert not [n for n in sys.modules if n.startswith('nionswift_plugin.')]"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    ran = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and nothing else in an empty folder."""
    target = tmp_path_factory.mktemp("target")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    ran = subprocess.run(
        [*command, "--no-deps", "--no-compile", "--target", str(target), str(wheel)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return target


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_everything_that_runs_is_in_it(wheel: Path) -> None:
    names = _names(wheel)
    for plug_in in PLUG_INS:
        assert {f"nionswift_plugin/{plug_in}/__init__.py", f"nionswift_plugin/{plug_in}/manifest.json"} <= names
    for package in ("stemctx_core", "realtime", "sim"):
        assert {f"{package}/__init__.py", f"{package}/py.typed"} <= names
    for plug_in in PLUG_INS:
        assert f"nionswift_plugin/{plug_in}/py.typed" in names
    assert {"stemctx_core/data/hosts.json", "stemctx_core/bundles/responses.npz"} <= names


def test_tracked_files_of_the_packages_are_all_in_it(wheel: Path) -> None:
    folders = ["stemctx_core", "realtime", "sim", "nionswift_plugin"]
    listed = subprocess.run(["git", "ls-files", *folders], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert set(listed.stdout.split()) - _names(wheel) == set()


def test_a_model_is_in_it(wheel: Path) -> None:
    bundles = {n for n in _names(wheel) if n.startswith("stemctx_core/bundles/")}
    assert [n for n in bundles if n.endswith(".onnx")]
    assert [n for n in bundles if n.endswith(".json") and "responses" not in n]


def test_nothing_else_is_in_it(wheel: Path) -> None:
    names = _names(wheel)
    assert "nionswift_plugin/__init__.py" not in names
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "stemctx_core",
        "realtime",
        "sim",
        "nionswift_plugin",
    }
    assert not [n for n in names if "test" in n.split("/")[-1] or "__pycache__" in n]
    assert not [n for n in names if n.endswith((".pkl", ".pt", ".part"))]


def test_licence_and_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        entries = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
        assert metadata.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert "License-Expression: GPL-3.0-or-later" in text
    # The live path must not bring gigabytes.
    plain = [line for line in text.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert not [line for line in plain if re.search(r"torch|abtem|nion", line, re.IGNORECASE)]
    live = [line for line in text.splitlines() if "extra == 'simulator'" in line]
    assert live
    assert not [line for line in live if re.search(r"torch|abtem", line, re.IGNORECASE)]
    for module in re.findall(r"= ([\w.]+):register", entries):
        assert f"{module.replace('.', '/')}.py" in _names(wheel)


def test_nion_lists_both_plug_ins_of_the_wheel(installed: Path) -> None:
    # -I and -S: nothing but the standard library and this folder.
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); {LIST_PLUG_INS}"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) == PLUG_INS


@pytest.mark.parametrize("plug_in", sorted(PLUG_INS))
def test_manifests_are_what_nion_accepts(installed: Path, plug_in: str) -> None:
    manifest = json.loads((installed / "nionswift_plugin" / plug_in / "manifest.json").read_text())
    assert re.fullmatch(r"[_\-a-zA-Z][_\-a-zA-Z0-9.]*", manifest["identifier"])
    assert manifest["name"]
    # Nion skips a plug-in without a word where a requirement is not "identifier ~= version".
    assert all(re.fullmatch(r"\S+ ~= \d+(\.\d+)*", line) for line in manifest.get("requires", []))


def test_the_shipped_library_loads_from_the_wheel(installed: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r});"
        "from stemctx_core.simulation.library import shipped_library, __file__ as at;"
        f"assert at.startswith({str(installed)!r}), at;"
        "shipped_library().check(80, 30, 70, 200)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr


def test_the_editable_install_is_a_plain_path() -> None:
    distribution = importlib.metadata.distribution("stemctx")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        pytest.skip("stemctx is not installed editable")
    paths = [Path(str(distribution.locate_file(f))) for f in distribution.files or () if f.suffix == ".pth"]
    assert len(paths) == 1
    # A line that starts with "import" is a finder hook, behind which Nion cannot list plug-ins. The same path stands
    # there once for every package.
    assert set(paths[0].read_text().splitlines()) == {str(REPOSITORY)}
    ran = subprocess.run([sys.executable, "-c", LIST_PLUG_INS], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) >= PLUG_INS
