"""The command `stemctx simulate library`: build the response library, or measure one between its nodes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stemctx_core.chemistry import columns, elements
from stemctx_core.errors import InputError
from stemctx_core.simulating.preparing import need_abtem, need_folder, need_npz, progress_bar

if TYPE_CHECKING:
    from stemctx_core.simulation.building.plan import BuildPlan


def register(simulate: typer.Typer) -> None:
    """Add `library`."""
    simulate.command()(library)


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
        list[float] | None,
        typer.Option(help="Energy; give it again for more.", show_default="60, 80, 100, 120, 200, 300"),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column such as W, Se, Se+Se or O+Se; give it again for more.", show_default="all"),
    ] = None,
    convergence_mrad: Annotated[
        list[float] | None,
        typer.Option(
            help="Convergence semi-angle of the probe; the first is simulated in full, more are nodes around it.",
            show_default="30, and the nodes of the shipped library",
        ),
    ] = None,
    defocus_nm: Annotated[
        list[float] | None,
        typer.Option(help="Magnitude of a defocus, at every convergence; give it again for more."),
    ] = None,
    astigmatism_nm: Annotated[
        list[float] | None,
        typer.Option(help="Twofold astigmatism, at the first convergence and every defocus."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Simulate nothing into the library; measure one that is there between its nodes."
        ),
    ] = False,
) -> None:
    """Build a library of column responses with abTEM multislice.

    Every column is simulated once at every energy, in rings of 5 mrad, so that any annular detector can be added
    up from it afterwards. Other convergences, a defocus and an astigmatism are nodes: they are simulated with fewer
    probe positions, and the library interpolates between them. Without options the shipped library is built, which
    takes an hour on two cores. Stop it whenever you like: the same command goes on where it was.

    Example, the two columns of a perfect WSe2 sheet at 80 kV:

        stemctx simulate library --output wse2.npz --high-tension-kv 80 --column W --column Se+Se

    The same for a probe of 25 to 35 mrad that is up to 6 nm out of focus, and then how far it is from probes that
    it does not hold:

        stemctx simulate library --output wse2.npz --high-tension-kv 80 --column W --column Se+Se
        --convergence-mrad 30 --convergence-mrad 25 --convergence-mrad 35
        --defocus-nm 2 --defocus-nm 4 --defocus-nm 6

        stemctx simulate library --output wse2.npz --check
    """
    # Imported where they are used, here and below: no other command waits for them.
    from stemctx_core.simulation.building.build import build_library

    plan = _plan(high_tension_kv, column, convergence_mrad, defocus_nm, astigmatism_nm)
    need_abtem()
    if check:
        _check_library(output, high_tension_kv, column)
        return
    need_npz(output)
    need_folder(output.parent)
    parts = work_folder or output.with_suffix(".parts")
    with progress_bar() as bar:
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


def _check_library(path: Path, high_tensions_kv: list[float] | None, keys: list[str] | None) -> None:
    """Print how far a library is from fresh simulations of probes between its nodes."""
    from stemctx_core.simulation.building.held_out_probes import interpolation_errors
    from stemctx_core.simulation.library import ResponseLibrary

    held = ResponseLibrary(path)
    asked = tuple(keys or [c for c in ("W", "Se+Se", "S+S", "Mo") if c in held.columns] or held.columns[:2])
    table = Table(
        "column", "kV", "probe", "detector", "moves the peak", "off on the peak", "off anywhere", "turning part"
    )
    worst = 0.0
    for kv in high_tensions_kv or held.high_tensions_kv:
        with progress_bar() as bar:
            task = bar.add_task("starting", total=None)
            found = interpolation_errors(
                held,
                kv,
                asked,
                progress=lambda done, total, name, bar=bar, task=task: bar.update(  # type: ignore[misc]
                    task, completed=done, total=total, description=name
                ),
            )
        for e in found:
            worst = max(worst, e.worst_percent, e.turning_percent)
            table.add_row(
                e.column,
                f"{e.high_tension_kv:g}",
                e.probe.title,
                f"{e.inner_mrad:g}-{e.outer_mrad:g}",
                *(f"{v:+.2f} %" for v in (e.moved_percent, e.peak_percent)),
                *(f"{v:.2f} %" for v in (e.worst_percent, e.turning_percent)),
            )
    Console().print(table)
    typer.echo(f"Between its nodes the library is off by at most {worst:.2f} % of a column's peak in focus")


def _plan(
    high_tensions_kv: list[float] | None,
    keys: list[str] | None,
    convergences_mrad: list[float] | None = None,
    defoci_nm: list[float] | None = None,
    astigmatisms_nm: list[float] | None = None,
) -> BuildPlan:
    from stemctx_core.simulation.building.plan import BuildPlan, nodes_around, standard_nodes

    default = BuildPlan()
    energies = tuple(dict.fromkeys(high_tensions_kv)) if high_tensions_kv else default.high_tensions_kv
    for kv in energies:
        if not (math.isfinite(kv) and 20 <= kv <= 400):
            raise InputError(f"A high tension of {kv:g} kV cannot be: expected 20 to 400. Is it in volts?")
    convergences = tuple(dict.fromkeys(convergences_mrad or [default.convergence_semi_angle_mrad]))
    for convergence in convergences:
        if not (math.isfinite(convergence) and 5 <= convergence <= 60):
            raise InputError(
                f"A convergence semi-angle of {convergence:g} mrad cannot be: expected 5 to 60. Is it in radians?"
            )
    for name, values in (("defocus", defoci_nm), ("astigmatism", astigmatisms_nm)):
        for value in values or ():
            if not (math.isfinite(value) and 0 < value <= 50):
                raise InputError(
                    f"A node of {value:g} nm {name} cannot be: expected a magnitude above 0, up to 50. "
                    "Leave the option out for none."
                )
    chosen = tuple(dict.fromkeys(keys)) if keys else default.columns
    for key in chosen:
        _check_column(key)
    if convergences_mrad or defoci_nm or astigmatisms_nm:
        nodes = nodes_around(convergences, tuple(defoci_nm or ()), tuple(astigmatisms_nm or ()))
        each = dict.fromkeys(energies, nodes) if nodes else {}
    else:
        each = {kv: standard_nodes(kv) for kv in energies}
    return BuildPlan(energies, chosen, convergences[0], each)


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
