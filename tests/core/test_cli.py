"""The command line: help that teaches, and one clear message with exit code 2 for what cannot be done."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "from stemctx_core.cli import main; main()"
#: Makes packages look as if they were not installed.
HIDE = "import sys; sys.modules.update(dict.fromkeys({names!r})); "


def stemctx(*arguments: str, hidden: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user without the hidden packages would."""
    before = HIDE.format(names=hidden) if hidden else ""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", before + RUN, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )


def test_version() -> None:
    ran = stemctx("--version")
    assert ran.returncode == 0
    assert ran.stdout.strip() == importlib.metadata.version("stemctx")


def test_every_room_brings_its_commands() -> None:
    ran = stemctx("--help")
    assert ran.returncode == 0, ran.stderr
    for command in ("analyze", "live", "serve", "simulate", "train"):
        assert f" {command} " in ran.stdout


def test_help_needs_no_optional_package() -> None:
    ran = stemctx("--help", hidden=("nion", "abtem", "ase", "torch", "onnx", "sklearn", "rosettasciio"))
    assert ran.returncode == 0, ran.stderr
    assert "Not available" not in ran.stdout
    assert " serve " in ran.stdout


@pytest.mark.parametrize("command", ["analyze", "live", "serve", "simulate", "train"])
def test_every_command_has_help(command: str) -> None:
    ran = stemctx(command, "--help")
    assert ran.returncode == 0, ran.stderr
    assert "--" in ran.stdout
    assert len(ran.stdout) > 300


def test_the_help_of_the_library_teaches_by_an_example() -> None:
    shown = stemctx("simulate", "library", "--help").stdout
    assert "stemctx simulate library --output wse2.npz --high-tension-kv 80 --column W" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--output", "out.txt"), "Give --output a name ending in .npz"),
        (("--output", "out.npz", "--column", "Qq"), "There is no element 'Qq'"),
        (("--output", "out.npz", "--high-tension-kv", "80000"), "Is it in volts"),
        (("--output", "file/out.npz", "--column", "V"), "Choose another --output"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    pytest.importorskip("abtem")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    ran = stemctx("simulate", "library", *options)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert ran.stderr.startswith("stemctx: ")
    assert len(ran.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_without_abtem_it_says_what_to_install(tmp_path: Path) -> None:
    ran = stemctx("simulate", "library", "--output", str(tmp_path / "out.npz"), hidden=("abtem", "ase"))
    assert ran.returncode == 2
    # The brackets must survive the formatting of the message.
    assert 'pip install "stemctx[simulation]"' in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("simulate", "library"), ("simulate", "library", "--nonsense")]
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ran = stemctx(*arguments)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_a_room_whose_package_is_missing_explains_itself(tmp_path: Path) -> None:
    """A third party's commands may import at once what is not there; the others must still work."""
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stemctx.commands]\nextra = needs_what_is_not_there:register\n")
    (tmp_path / "needs_what_is_not_there.py").write_text("import not_there_at_all\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {RUN}"
    ran = subprocess.run(
        [sys.executable, "-c", code, "extra", "--option"], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 2
    assert "needs the Python package 'not_there_at_all'" in ran.stderr
    assert 'pip install "stemctx[all]"' in ran.stderr
