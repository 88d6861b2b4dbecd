"""Tables of pages in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table."""
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in (head, ["---"] * len(head), *rows)]
