"""The commands, tables and pictures of `docs/operator.md` are those of the code."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES
from nionswift_plugin.stemctx.service.status import LiveState
from stemctx_core import errors
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
LARGEST_PICTURE = 200_000


def block(language: str) -> list[str]:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [line for text in blocks for line in text.splitlines()]


def table(heading: str) -> list[list[str]]:
    """Cells of the first table under a heading, without its head."""
    lines = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("line", block("sh") + block("bat"))
def test_a_command_is_one_that_works(line: str) -> None:
    words = shlex.split(line.replace("\\", "/"))
    program, rest = Path(words[0]).name, words[1:]
    if program == "make":
        ran = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        assert "nionswift_plugin.stemctx.application" in ran.stdout
    elif program == "stemctx":
        ran = subprocess.run(
            [sys.executable, "-m", "stemctx_core.cli", *rest], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
    elif program == "nionswift":
        option, module = rest
        assert option == "--app"
        assert callable(importlib.import_module(module).main)
    elif rest[:2] == ["-m", "venv"]:
        assert program in ("python3", "py")
    else:
        assert program == "python"
        assert rest[:2] == ["-m", "pip"]
        ran = subprocess.run([sys.executable, *rest[:3], "--help"], capture_output=True, text=True, timeout=300)
        options = [word for word in rest[3:] if word.startswith("-")]
        assert ran.returncode == 0
        assert all(option in ran.stdout for option in options)
        assert {*rest[3:]} - {*options} <= {".", "stemctx", *(f".[{extras}]" for extras in asked_extras())}


def asked_extras() -> set[str]:
    """Lists of extras that the project has all of."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lists = set(re.findall(r"\.\[([\w,]+)\]", PAGE))
    return {names for names in lists if set(names.split(",")) <= set(extras)}


def test_windows_is_told_the_same() -> None:
    elsewhere = [" ".join(line.split()[1:]) for line in block("sh")[1:4]]
    assert [" ".join(line.split()[1:]) for line in block("bat")] == elsewhere


def test_every_code_of_a_refusal_is_explained() -> None:
    assert {row[0].strip("`") for row in table("When it refuses")} == codes_of_refusals()


def codes_of_refusals() -> set[str]:
    """First arguments, where the core makes a refusal or raises an error that becomes one."""
    raised = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.FrameError)}
    codes = set()
    for path in (ROOT / "stemctx_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in {"Refusal", *raised} and isinstance(first, ast.Constant):
                    codes.add(str(first.value))
    return codes


def test_every_class_has_its_colour() -> None:
    told = {(row[1], re.findall(r"`(#\w+)`", row[0])[0]) for row in table("What you see on the image")}
    assert told == {(ROLE_WORDS[role], ROLE_COLOURS[role]) for role in DEFECT_ROLES}


def test_every_state_is_explained() -> None:
    assert [row[0] for row in table("States")] == [state.value for state in LiveState]


def test_the_buttons_are_called_so() -> None:
    folder = ROOT / "nionswift_plugin"
    code = "".join(path.read_text() for path in sorted(folder.rglob("*.py")))
    named = re.findall(r"\*([A-Z][\w ]+)\*", re.sub(r"\*\*.*?\*\*", "", PAGE))
    of_the_host = {"Anaconda Prompt", "Output"}
    assert {name for name in named if f'"{name}"' not in code} <= of_the_host


def test_the_pictures_are_there_and_small() -> None:
    for name in re.findall(r"\]\((images/.*?)\)", PAGE):
        assert (ROOT / "docs" / name).stat().st_size <= LARGEST_PICTURE, name
