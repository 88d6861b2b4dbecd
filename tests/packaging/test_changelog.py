"""Fragments of the changelog are of a kind that a release gathers, and whole sentences."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FRAGMENTS = sorted((REPOSITORY / "changelog.d").glob("*.*.md"))


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_gathered_and_reads_as_a_sentence(path: Path) -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    assert path.suffixes[-2].lstrip(".") in kinds
    text = path.read_text().strip()
    assert text.endswith(".")
    assert text[0].isupper() or text.startswith("`")
