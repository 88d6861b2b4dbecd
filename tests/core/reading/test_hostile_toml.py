"""Descriptions of images that came with somebody's files, and mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemctx_core.errors import InputError
from stemctx_core.reading.declared import told_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host = " + "[" * 5000 + "]" * 5000, "cannot be used"),
        ("a." * 100_000 + "b=1", "too large to be a description"),
    ],
)
def test_a_description_that_would_fill_the_memory_or_the_stack_is_told(
    tmp_path: Path, text: str, words: str
) -> None:
    image = tmp_path / "frame.tif"
    image.with_suffix(".toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        told_of(image, None)
