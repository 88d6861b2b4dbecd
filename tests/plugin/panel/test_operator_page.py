"""What `docs/operator.md` and the other pages of the window say is what the code does and the panels show."""

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

from nionswift_plugin.stemctx.panel.panel import PANEL_NAME
from nionswift_plugin.stemctx.panel.shown_section import SHORT_NAMES
from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES
from nionswift_plugin.stemctx.service.status import LiveState
from nionswift_plugin.stemctx_simulator.panel import PANEL_NAME as SPECIMEN_NAME
from sim.scan_device import NAME as SIMULATED_SCAN
from stemctx_core import errors
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS
from tests.plugin import panel_words

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
#: Pages whose words in italics are read off the window.
PANEL_PAGES = ("operator.md", "microscope.md", "simulator.md")
#: Bytes; a page with ten of them still comes at once.
LARGEST_PICTURE = 300_000
#: Words of the desktop, not of Nion Swift.
OF_THE_SYSTEM = {"Anaconda Prompt"}
#: Of Nion Swift's own window, and in no menu.
HOST_WORDS = {"Data Panel"}


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


@pytest.mark.parametrize("page", PANEL_PAGES)
def test_every_quoted_word_is_one_that_is_seen(page: str) -> None:
    unseen = {words for words in quoted((ROOT / "docs" / page).read_text()) if not is_seen(words)}
    assert not unseen, f"docs/{page} quotes what neither the panels nor Nion Swift show"


def quoted(text: str) -> set[str]:
    """What a page sets in italics: labels, buttons, states, menus."""
    words = re.findall(r"\*([^*]+)\*", re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("**", ""))
    return {" ".join(word.split()) for word in words}


def is_seen(words: str) -> bool:
    """Whether our panels, or Nion Swift's menus and windows, show it."""
    menu, _, name = words.rpartition(" > ")
    if menu == "Window":
        ours = {PANEL_NAME, SPECIMEN_NAME, f"{SIMULATED_SCAN} Scan Control"}
        return name in ours | panel_words.host_panels()
    if menu == "File":
        return name in panel_words.host_actions()
    if name in HOST_WORDS:
        return name in panel_words.host_panels()
    always = panel_words.labels() | OF_THE_SYSTEM | {SIMULATED_SCAN, f"{SIMULATED_SCAN} (HAADF)"}
    return not menu and (name in always | notes() or panel_words.without_number(name) in panel_words.said())


def notes() -> set[str]:
    """How the notes begin that the page explains."""
    return {row[0].strip("*") for row in table("Notes below the flags")}


def test_a_note_is_one_that_frames_bring() -> None:
    made = panel_words.of_the_core()
    assert {note for note in notes() if not any(re.match(rf"{note}\b", text) for text in made)} == set()


def test_a_word_that_nobody_sees_is_found_out() -> None:
    assert quoted("**4. Press *Start*.** and *Names of the\ninstrument's controls*, *17 hidden*") == {
        "Start", "Names of the instrument's controls", "17 hidden",
    }  # fmt: skip
    seen = (
        "Start",
        "Go on",
        "17 hidden",
        "connecting",
        "you",
        "X2/M is",
        "Window > Metadata",
        "Window > Defect flags",
    )
    unseen = (
        "start",
        "Begin",
        "17 concealed",
        "linking",
        "Metadata",
        "Window > Python Console",
        "File > Defect flags",
    )
    assert [words for words in seen if not is_seen(words)] == []
    assert [words for words in unseen if is_seen(words)] == []


def test_every_button_is_explained() -> None:
    told = quoted(PAGE) | quoted((ROOT / "docs" / "simulator.md").read_text())
    assert panel_words.buttons() <= told


def test_short_names_of_classes_are_told() -> None:
    assert set(SHORT_NAMES.values()) <= quoted(PAGE)


def test_the_pictures_are_there_and_small() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs" / name for name in ("index.md", *PANEL_PAGES))]
    shown = {name for page in pages for name in re.findall(r"\]\((?:docs/)?images/(.*?)\)", page.read_text())}
    assert len(shown) >= 10
    sizes = {name: (ROOT / "docs" / "images" / name).stat().st_size for name in shown}
    assert {name: size for name, size in sizes.items() if size > LARGEST_PICTURE} == {}
