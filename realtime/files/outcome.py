"""What became of one image of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stemctx_core.reading import FileValues
from stemctx_core.results import FrameResult


@dataclass(frozen=True)
class Outcome:
    """What became of one image: a result, which may be a refusal, or why it could not be read.

    Attributes
    ----------
    files
        Where it was read; several where the detectors of a scan are kept apart.
    image_name
        Of its detector channel, or of several with a plus between; empty where the file names none.
    frame
        Number in its stack, counted from 0; None where the file holds one frame, or where all were used together.
    image
        (height, width) intensities that were judged; None where none could be read.
    result
        What was found; None where the image could not be read or its context not be used.
    error
        Why not, in words with the fix; empty where it was read.
    notes
        What else is to be told: where sources of the context differ, and what was left out.
    said
        What the file says of itself.
    """

    files: tuple[Path, ...]
    image_name: str = ""
    frame: int | None = None
    image: NDArray[Any] | None = None
    result: FrameResult | None = None
    error: str = ""
    notes: tuple[str, ...] = ()
    said: FileValues = FileValues()

    @property
    def judged(self) -> bool:
        """Whether there is a result that is not a refusal."""
        return self.result is not None and self.result.refusal is None

    @property
    def refusal(self) -> str:
        """Why it was not judged, with the fix; empty where it was."""
        if self.result is None:
            return self.error
        refusal = self.result.refusal
        return f"{refusal.reason} {refusal.fix}" if refusal else ""

    @property
    def code(self) -> str:
        """Short name of the refusal; ``unreadable`` where no frame came to be judged, empty where one was."""
        if self.result is None:
            return "unreadable"
        return self.result.refusal.code if self.result.refusal else ""

    @property
    def material(self) -> str:
        """Host and the elements looked for, such as ``WSe2 with V``; empty where the image could not be read."""
        if self.result is None:
            return ""
        dopants = ", ".join(self.result.context.dopants)
        return self.result.context.host + (f" with {dopants}" if dopants else "")

    @property
    def label(self) -> str:
        """The file, with what in it is meant."""
        name = " + ".join(f.name for f in self.files)
        parts = [self.image_name, f"frame {self.frame}" if self.frame is not None else ""]
        told = ", ".join(p for p in parts if p)
        return f"{name} ({told})" if told else name
