"""Pages name files and modules that are there, and the page of the architecture names every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import REPOSITORY, pages

FLOORS = ("stemctx_core", "realtime", "sim", "nionswift_plugin")
NAMED = re.compile(rf"(?<![\w./-])((?:{'|'.join(FLOORS)}|tests|examples|docs)(?:/[\w.-]+)+)")
DOTTED = re.compile(rf"(?<![\w./-])((?:{'|'.join(FLOORS)})(?:\.\w+)+)")


def rooms() -> list[Path]:
    """Folders of code, from the root of the repository."""
    found = {
        init.parent.relative_to(REPOSITORY)
        for floor in FLOORS
        for init in (REPOSITORY / floor).rglob("__init__.py")
    }
    return sorted(found)


def section(page: str, room: Path) -> str:
    """What the page of the architecture says of the floor that a room is on."""
    floor = "nionswift_plugin/stemctx" if room.parts[0] == "nionswift_plugin" else room.parts[0]
    (_, text) = page.split(f"### {floor}\n", 1)
    return text.split("\n### ", 1)[0]


@pytest.mark.parametrize("room", rooms(), ids=str)
def test_the_architecture_names_the_room(room: Path) -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    depth = 2 if room.parts[0] == "nionswift_plugin" else 1
    name = "/".join(room.parts[depth:])
    assert f"`{name}/`" in section(page, room) if name else room.name in page


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_names_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not [name for name in NAMED.findall(text) if not (REPOSITORY / name.rstrip(".")).exists()]
    for name in DOTTED.findall(text):
        words = name.split(".")
        while words and not any(REPOSITORY.joinpath(*words).with_suffix(s).exists() for s in ("", ".py")):
            words.pop()
        module = REPOSITORY.joinpath(*words)
        code = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
        rest = name.split(".")[len(words) :]
        assert not rest or re.search(rf"\b{rest[0]}\b", code.read_text(encoding="utf-8")), name
