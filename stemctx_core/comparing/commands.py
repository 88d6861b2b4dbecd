"""`stemctx compare`: how far a simulation is from a measured frame, and what closes the gap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stemctx_core.errors import InputError
from stemctx_core.reading.frame_options import (
    ConvergenceOption,
    HighTensionOption,
    HostOption,
    InnerOption,
    OuterOption,
    PixelSizeOption,
)

if TYPE_CHECKING:
    from stemctx_core.comparing.comparison import Comparison


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="SIM EXP: a simulated frame and a measured one; or the measured one alone.",
            metavar="[SIM] EXP",
        ),
    ],
    host: HostOption = None,
    high_tension_kv: HighTensionOption = None,
    convergence_mrad: ConvergenceOption = None,
    inner_mrad: InnerOption = None,
    outer_mrad: OuterOption = None,
    pixel_size_angstrom: PixelSizeOption = None,
    second_detector: Annotated[
        Path | None,
        typer.Option(help="Another detector's image of the scan of EXP: splits its noise into common and own."),
    ] = None,
    fit: Annotated[bool, typer.Option(help="Fit a simulation to EXP's host lattice.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of simulated frames and permutations.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything found as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page (HTML) with pictures.")] = None,
    library: Annotated[Path | None, typer.Option(help="Response library instead of the shipped one.")] = None,
) -> None:
    """Compare a simulated frame with a measured one, and say what to change in the simulation.

    Contrast, columns, noise and features are compared, each with a permutation test; then a simulation is fitted to
    the host's columns of the measured frame, and the gap that is left is shown. Without SIM, one is made with what is
    declared and typical values for the rest.

    Example:

        stemctx compare simulated.npy frame.tif --host WSe2 --high-tension-kv 80 --inner-mrad 60 --outer-mrad 120
        --report gap.html
    """
    # Imported here: no other command waits for them.
    from stemctx_core.comparing import comparison
    from stemctx_core.reading.declared import Declared
    from stemctx_core.reading.described import described_frame
    from stemctx_core.simulation.library import ResponseLibrary, shipped_library
    from stemctx_core.whole_files import write_whole

    if len(files) > 2:
        raise InputError(f"{len(files)} files were given. Give SIM and EXP, or EXP alone.")
    declared = Declared(
        host=host,
        high_tension_kv=high_tension_kv,
        convergence_mrad=convergence_mrad,
        inner_mrad=inner_mrad,
        outer_mrad=outer_mrad,
        pixel_size_angstrom=pixel_size_angstrom,
    )
    measured = described_frame(files[-1], declared)
    made = described_frame(files[0], declared) if len(files) == 2 else None
    other = None
    if second_detector is not None:
        # Its own angles are not asked for: noise is compared, not ratios.
        unknown = Declared(host=host, high_tension_kv=high_tension_kv, convergence_mrad=convergence_mrad)
        other = described_frame(second_detector, unknown)
    frames = comparison.Frames(
        measured=measured.image,
        context=measured.context,
        simulated=made.image if made else None,
        other_detector=other.image if other else None,
        other_context=other.context if other else None,
    )
    used = ResponseLibrary(library) if library else shipped_library()
    found = comparison.compare(used, frames, fit, seed)
    name = made.name if made else "a simulation as declared"
    console = Console(width=110)
    for words in (*measured.notes, *(made.notes if made else ())):
        console.print(f"[yellow]note:[/] {escape(words)}")
    _tell(console, found, name, measured.name)
    if json_file is not None:
        write_whole(json_file, json.dumps(comparison.as_json(found), indent=1) + "\n")
    if report is not None:
        from stemctx_core.comparing.page import comparison_page

        write_whole(report, comparison_page(found, name, measured.name))


def _tell(console: Console, found: Comparison, simulated: str, measured: str) -> None:
    from rich.table import Table

    from stemctx_core.comparing.told import change_words, gap_rows, summary_rows

    def shown(title: str, heads: tuple[str, ...], rows: list[tuple[str, str, str, str, str]]) -> None:
        table = Table(title=escape(title), title_justify="left")
        for k, head in enumerate(heads):
            table.add_column(head, justify="left" if k == 0 or head == "moved by" else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)

    shown(
        f"Gap of {simulated} to {measured}, beyond chance",
        ("distance", "simulated", "p", "fitted", "p"),
        gap_rows(found),
    )
    shown("The host's columns", ("number", "simulated", "measured", "fitted", "moved by"), summary_rows(found))
    for words in found.warnings:
        console.print(f"[bold yellow]![/] {escape(words)}")
    if changes := change_words(found):
        console.print("Simulate with:")
        for line in changes:
            console.print(f"  {escape(line)}", highlight=False)
