"""`stemctx estimate`: what a frame says of its own context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stemctx_core.reading.frame_options import (
    ConvergenceOption,
    HighTensionOption,
    HostOption,
    InnerOption,
    OuterOption,
    PixelSizeOption,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("estimate")(estimate)


def estimate(
    file: Annotated[Path, typer.Argument(help="A micrograph, of any kind that 'stemctx analyze' reads.")],
    host: HostOption = None,
    high_tension_kv: HighTensionOption = None,
    convergence_mrad: ConvergenceOption = None,
    inner_mrad: InnerOption = None,
    outer_mrad: OuterOption = None,
    pixel_size_angstrom: PixelSizeOption = None,
    rehearsals: Annotated[
        int, typer.Option(min=16, max=1000, help="Simulated frames like this one, for the intervals.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of these.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything offered as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page (HTML) with the map of the angles.")] = None,
    library: Annotated[Path | None, typer.Option(help="Response library instead of the shipped one.")] = None,
) -> None:
    """Offer values for what is not known of a frame, from the columns of its host.

    Pixel size, effective source and dose each come with a 90 % interval. Detector angles cannot be told from a frame:
    what can is the ratio X2/M, and the angles that give it are a ridge. Nothing is taken without you: the last lines
    are the options to give.

    Example:

        stemctx estimate frame.tif --host WSe2 --high-tension-kv 80
    """
    # Imported here: no other command waits for them.
    from stemctx_core.estimating.offers import offers
    from stemctx_core.estimating.told import as_json, option_line, ridge_words, table, toml_lines
    from stemctx_core.reading.declared import Declared
    from stemctx_core.reading.described import described_frame
    from stemctx_core.simulation.library import ResponseLibrary, shipped_library
    from stemctx_core.whole_files import write_whole

    console = Console(width=110)
    declared = Declared(
        host=host,
        high_tension_kv=high_tension_kv,
        convergence_mrad=convergence_mrad,
        inner_mrad=inner_mrad,
        outer_mrad=outer_mrad,
        pixel_size_angstrom=pixel_size_angstrom,
    )
    frame = described_frame(file, declared)
    for words in frame.notes:
        console.print(f"[yellow]note:[/] {escape(words)}")
    used = ResponseLibrary(library) if library else shipped_library()
    found = offers(used, frame.image, frame.context, rehearsals, seed)
    console.print(
        table(found, escape(f"{frame.name}: {frame.context.host}, {len(found.lattice.features)} columns"))
    )
    console.print(ridge_words(found))
    for words in found.objections:
        console.print(f"[bold yellow]![/] {escape(words)}")
    console.print("\nTo use them, as options (any other point of the ridge is as good):")
    console.print(escape(option_line(found)))
    console.print("\nor in a TOML file beside the frame:")
    console.print(escape(toml_lines(found)), highlight=False)
    if json_file is not None:
        write_whole(json_file, json.dumps(as_json(found), indent=1) + "\n")
    if report is not None:
        from stemctx_core.estimating.page import offer_page

        write_whole(report, offer_page(found, frame.name))
