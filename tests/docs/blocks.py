"""Code blocks of the README and of docs/: what each is, and whether a reader's way through them is run here.

A comment right before a block says what is done with it:

``<!-- not run: REASON -->``
    It is not executed; its commands are still parsed.
``<!-- as NAME -->``
    A file that the reader writes, for what follows.
``<!-- shown -->``
    Output, a drawing or a piece of a file, not a thing to run.

Every other block is run, in order, in one folder a page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FENCE = re.compile(
    r"(?:^<!-- (?P<said>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(r"`(stemctx [a-z][^`\n]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    page, line
        Where it stands; the path is from the repository's root.
    language
        As its fence says.
    said
        The comment before it, or an empty text.
    """

    page: str
    line: int
    language: str
    text: str
    said: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Lines of a shell, those that end in a backslash joined, without comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        lines = (re.sub(r"\s+#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def is_run(self) -> bool:
        """Whether a test executes it."""
        return bool(self.file_name) or (self.said == "" and self.language in {"sh", "python"})

    @property
    def file_name(self) -> str:
        """Name of the file that the block is, or an empty text."""
        return self.said.removeprefix("as ") if self.said.startswith("as ") else ""


def pages() -> list[Path]:
    """Every page that a reader is sent to."""
    top = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
    return [*top, *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page, in order."""
    text = page.read_text()
    name = page.relative_to(REPOSITORY).as_posix()
    return [
        Block(name, text[: m.start()].count("\n") + 1, m["language"], m["text"], m["said"] or "")
        for m in _FENCE.finditer(text)
    ]


def inline_commands(page: Path) -> list[str]:
    """Commands that stand in running text and in tables."""
    return [found.replace(r"\|", "|") for found in _INLINE.findall(page.read_text())]
