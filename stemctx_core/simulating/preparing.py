"""What the commands of simulation ask for before work starts, and the bar that they show."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stemctx_core.errors import InputError
from stemctx_core.extras import need


def progress_bar() -> Progress:
    """A bar on standard error; its task says what is being done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def need_abtem() -> None:
    """Raise `InputError` with the fix where abTEM or ASE is not installed."""
    need("A simulation", ("abtem", "ase"), "simulation")


def need_folder(folder: Path, instead: str = "--output") -> None:
    """Make a folder, or raise `InputError` that says what to choose instead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made: {error}. Choose another {instead}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"The folder {folder} cannot be written to. Choose another {instead}.")


def need_npz(output: Path) -> None:
    """Raise `InputError` for an output that is not named as a library."""
    if output.suffix != ".npz":
        raise InputError(
            f"The library is an .npz file, '{output.name}' is not. Give --output a name ending in .npz."
        )
