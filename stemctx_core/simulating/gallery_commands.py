"""The command `stemctx simulate gallery`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stemctx_core.simulating.preparing import need_folder


def register(simulate: typer.Typer) -> None:
    """Add the commands of this room to `stemctx simulate`."""
    simulate.command()(gallery)


def gallery(
    output: Annotated[Path, typer.Option(help="Folder for the pictures; it is made if need be.")],
    library: Annotated[
        Path | None,
        typer.Option(help="Response library to draw with, an .npz.", show_default="the one that is shipped"),
    ] = None,
) -> None:
    """Draw pictures of every class, of every imperfection, and of whole frames.

    Example, the pictures of the documentation:

        stemctx simulate gallery --output docs/images
    """
    # Drawing needs much that no other command does.
    from stemctx_core.simulating.gallery import write_gallery
    from stemctx_core.simulation.library import ResponseLibrary, shipped_library

    need_folder(output)
    responses = shipped_library() if library is None else ResponseLibrary(library)
    console = Console(stderr=True)
    for path in write_gallery(
        responses, output, lambda name: console.print(f"drawing {name}", highlight=False)
    ):
        typer.echo(f"Wrote {path} ({path.stat().st_size / 1e3:.0f} kB)")
