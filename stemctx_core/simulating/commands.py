"""The commands `stemctx simulate`, one module each."""

from __future__ import annotations

import typer

from stemctx_core.dataset.commands import register as register_dataset
from stemctx_core.simulating.gallery_commands import register as register_gallery
from stemctx_core.simulating.library_commands import register as register_library
from stemctx_core.simulating.validation_commands import register as register_validation

simulate = typer.Typer(
    no_args_is_help=True,
    help=(
        "Simulate what columns of atoms scatter, and what is made of it: frames, data sets, and how near it comes. "
        "Building a library needs abTEM.\n\nstemctx simulate gallery --output runs/gallery"
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    register_library(simulate)
    register_dataset(simulate)
    register_gallery(simulate)
    register_validation(simulate)
    app.add_typer(simulate, name="simulate")
