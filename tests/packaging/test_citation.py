"""The citation file names the program, its licence, and the paper whose idea it builds on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_asks_for(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all(set(author) & {"name", "family-names"} for author in citation["authors"])
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= set(reference)


def test_it_says_what_the_project_says(citation: dict[str, Any]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]
    (paper,) = (reference for reference in citation["references"] if reference["type"] == "article")
    assert paper["url"] == project["urls"]["Paper"]
    (identifier,) = paper["identifiers"]
    assert identifier["value"].removeprefix("arXiv:") in paper["url"]
