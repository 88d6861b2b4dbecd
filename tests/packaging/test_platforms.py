"""What would break on Windows and macOS, as far as it can be seen on any machine."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stemctx_core.interpreter import candidates

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("stemctx_core", "realtime", "sim", "nionswift_plugin")
#: Calls that read or write text, and take the letters of one language on Windows unless they are told otherwise.
TEXT = {"read_text", "write_text", "fdopen", "open"}
OTHER_OPEN = {"Image.open", "os.open", "cls.open", "Recorder.open", "self.open"}


def _text_without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        written = ast.unparse(call.func)
        name = written.rpartition(".")[2]
        keywords = {k.arg: k.value for k in call.keywords}
        if written.startswith("subprocess.") and "text" in keywords and "encoding" not in keywords:
            yield call  # of subprocess
        if name not in TEXT or written in OTHER_OPEN or "encoding" in keywords:
            continue
        if name in {"read_text", "write_text"}:
            yield call
            continue
        # The mode is the first word of letters that modes are made of; `open` of ours has none.
        modes = [a.value for a in (*call.args, *keywords.values()) if isinstance(a, ast.Constant)]
        mode = next((m for m in modes if isinstance(m, str) and m and set(m) <= set("rwaxbt+")), "")
        if (mode or written == "open" or "newline" in keywords) and "b" not in mode:
            yield call


@pytest.mark.parametrize("room", ROOMS)
def test_text_is_read_and_written_in_a_named_encoding(room: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        for call in _text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "without an encoding Windows takes its own: " + ", ".join(found)


def test_the_check_of_encodings_sees_what_it_should() -> None:
    bad = "p.read_text()\np.write_text(x)\nopen(p)\np.open('a')\nsubprocess.run(x, text=True)\np.open(newline='')\n"
    good = (
        "p.read_text(encoding='utf-8')\np.open('rb')\nopen(os.open(p, f), 'rb')\nwindow.open()\nos.open(p, 0)\n"
    )
    assert len(list(_text_without_encoding(ast.parse(bad)))) == 6
    assert not list(_text_without_encoding(ast.parse(good)))


@pytest.mark.parametrize(
    ("executable", "there"),
    [
        ("Python.exe", "Scripts/python.exe"),  # Nion's launcher, in an environment made with venv
        ("Scripts/NionSwiftLauncher/NionSwift.exe", "python.exe"),  # another launcher, conda
        ("Scripts/python.exe", "Scripts/python.exe"),
    ],
)
def test_the_interpreter_of_an_environment_is_found_as_windows_lays_it_out(
    tmp_path: Path, executable: str, there: str
) -> None:
    interpreter = tmp_path / there
    interpreter.parent.mkdir(parents=True, exist_ok=True)
    interpreter.touch()
    found = [place for place in candidates(tmp_path / executable, tmp_path, windows=True) if place.is_file()]
    assert found[0] == interpreter


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_command_writes_into_a_file_whose_letters_are_few(encoding: str) -> None:
    code = "from stemctx_core.cli import main; main()"
    words = "plan --host WSe2 vac_Se O_Se --high-tension-kv 80 --detector-mrad 70-200 --dose 1e4"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr.decode(encoding, errors="replace")
    assert b"?" in ended.stdout  # what stands for a letter that is not there
