"""A new book with the sites of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stemctx_core.labelling.book import Book
from tests.core.labelling.labelled_frame import made


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Book.create(tmp_path / "book.sqlite", seed="a") as opened:
        opened.add(*made())
        yield opened
