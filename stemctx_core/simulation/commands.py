"""The command `stemctx simulate`: rebuild the response library."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stemctx_core import elements
from stemctx_core.dataset.commands import register as register_dataset
from stemctx_core.errors import InputError
from stemctx_core.simulation import columns
from stemctx_core.simulation.build import BuildPlan, build_library

simulate = typer.Typer(no_args_is_help=True, help="Simulate what columns of atoms scatter (needs abTEM).")


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    register_dataset(simulate)
    app.add_typer(simulate, name="simulate")


@simulate.command()
def library(
    output: Annotated[
        Path, typer.Option(help="File to write, ending in .npz; a .json with its provenance joins it.")
    ],
    work_folder: Annotated[
        Path | None,
        typer.Option(
            help="Where finished columns are kept for resuming.", show_default="the output with .parts"
        ),
    ] = None,
    high_tension_kv: Annotated[
        list[float] | None, typer.Option(help="Energy; give it again for more.", show_default="60, 80, 200")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column such as W, Se, Se+Se or O+Se; give it again for more.", show_default="all"),
    ] = None,
    convergence_mrad: Annotated[float, typer.Option(help="Convergence semi-angle of the probe.")] = 30.0,
) -> None:
    """Build a library of column responses with abTEM multislice.

    Every column is simulated once at every energy, in rings of 5 mrad, so that any annular detector can be added
    up from it afterwards. The whole library takes some minutes on two cores. Stop it whenever you like: the
    same command goes on where it was.

    Example, the two columns of a perfect WSe2 sheet at 80 kV:

        stemctx simulate library --output wse2.npz --high-tension-kv 80 --column W --column Se+Se
    """
    plan = _plan(high_tension_kv, column, convergence_mrad)
    _need_abtem()
    _need_writable(output)
    parts = work_folder or output.with_suffix(".parts")
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("starting", total=None)
        provenance = build_library(
            plan,
            output,
            parts,
            lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
        )
    typer.echo(f"Wrote {output} ({output.stat().st_size / 1e3:.0f} kB), sha256 {provenance['sha256']}")
    convergence = provenance["convergence"]
    if isinstance(convergence, dict) and convergence["worst_percent"] is not None:
        typer.echo(f"A grid 1.6 times finer moves the peaks by at most {convergence['worst_percent']:.2f} %")


def _plan(high_tensions_kv: list[float] | None, keys: list[str] | None, convergence_mrad: float) -> BuildPlan:
    default = BuildPlan()
    energies = tuple(dict.fromkeys(high_tensions_kv)) if high_tensions_kv else default.high_tensions_kv
    for kv in energies:
        if not (math.isfinite(kv) and 20 <= kv <= 400):
            raise InputError(f"A high tension of {kv:g} kV cannot be: expected 20 to 400. Is it in volts?")
    if not (math.isfinite(convergence_mrad) and 5 <= convergence_mrad <= 60):
        raise InputError(
            f"A convergence semi-angle of {convergence_mrad:g} mrad cannot be: expected 5 to 60. Is it in radians?"
        )
    chosen = tuple(dict.fromkeys(keys)) if keys else default.columns
    for key in chosen:
        _check_column(key)
    return BuildPlan(high_tensions_kv=energies, columns=chosen, convergence_semi_angle_mrad=convergence_mrad)


def _check_column(key: str) -> None:
    atoms = columns.elements(key)
    if not 1 <= len(atoms) <= 2:
        raise InputError(f"'{key}' is not a column of one or two atoms. Write W, Se, Se+Se or O+Se.")
    for atom in atoms:
        elements.atomic_number(atom)
    if len(atoms) == 2 and atoms[-1] not in columns.CHALCOGENS:
        raise InputError(
            f"The second atom of '{key}' must be one of {', '.join(columns.CHALCOGENS)}. Swap the two?"
        )


def _need_abtem() -> None:
    missing = [name for name in ("abtem", "ase") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'{" and ".join(missing)} not installed. Run: pip install "stemctx[simulation]"')


def _need_writable(output: Path) -> None:
    """Refuse before the work, not after it."""
    if output.suffix != ".npz":
        raise InputError(
            f"The library is an .npz file, '{output.name}' is not. Give --output a name ending in .npz."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {output.parent} cannot be made: {error}. Choose another --output."
        ) from None
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"The folder {output.parent} cannot be written to. Choose another --output.")
