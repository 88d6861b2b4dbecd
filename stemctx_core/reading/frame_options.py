"""Options of commands that are about a frame: one wording for what is declared of it, wherever it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

HostOption = Annotated[
    str | None, typer.Option(help="Formula of the monolayer, such as WSe2.", show_default="of stemctx.toml")
]
CandidatesOption = Annotated[
    list[str] | None,
    typer.Option(help="Element looked for on the metal site; again for more, or with commas between."),
]
HighTensionOption = Annotated[
    float | None, typer.Option(help="Beam energy (kV); the file's own where left out.")
]
ConvergenceOption = Annotated[float | None, typer.Option(help="Convergence semi-angle of the probe.")]
InnerOption = Annotated[float | None, typer.Option(help="Inner collection semi-angle of the detector.")]
OuterOption = Annotated[float | None, typer.Option(help="Outer collection semi-angle of the detector.")]
PixelSizeOption = Annotated[float | None, typer.Option(help="Pixel size (Å); the file's own where left out.")]
RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Folders in a folder too.")]


def listed_elements(candidates: Sequence[str] | None) -> tuple[str, ...] | None:
    """Elements that were given, or None where the option was left out."""
    if not candidates:
        return None
    return tuple(e.strip() for part in candidates for e in part.split(",") if e.strip())
