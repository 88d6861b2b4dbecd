"""The command `stemctx benchmark swift`: what live flags cost the scan and the window of Nion Swift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.harm.report import HarmReport

_GROUP = "benchmark"


def add_benchmark(app: typer.Typer) -> None:
    """Add the command to those that measure, which another room has registered."""
    for group in app.registered_groups:
        if group.name == _GROUP and group.typer_instance is not None:
            group.typer_instance.command("swift")(swift)


def swift(
    size: Annotated[int, typer.Option(min=64, max=2048, help="Pixels along each side.")] = 256,
    dwell_us: Annotated[float, typer.Option(min=0.1, help="Time on each pixel.")] = 6.0,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="Of each turn of the scan.")] = 10,
    turns: Annotated[int, typer.Option(min=1, max=100, help="Turns with the plug-in on and off.")] = 3,
    cycles: Annotated[int, typer.Option(min=0, max=1000, help="Loads and unloads for the leak check.")] = 20,
    partial: Annotated[
        bool, typer.Option("--partial/--whole", help="Judge rows of frames over 1 s while they arrive, or not.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure what live flags cost Nion Swift, on its own acquisition and the simulated microscope.

    Nion Swift runs without a display: its document, its window with the panel in it, its scan. The scan runs in turns
    with and without live flags.

    stemctx benchmark swift --size 512 --frames 20

    Keys of the JSON: side_px, frames, calls, callback_ms by the clock, callback_cpu_ms of it computing, and
    copy_ms of a bare copy beside it (p50, p99) on the acquisition thread, window_ms_per_frame, window_cpu_ms_per_frame
    and window_run_ms (p50, p99) on the window's thread, frames_per_s (off, on) and rate_change, answered, writes (off, on) of documents
    during the scan, documents_made, cycles, leaks, load_average, targets, met.
    """
    from nionswift_plugin.stemctx.needed import need

    need("nion.swift.test", "nion.instrumentation.test", extra="plugin")
    need("nion.usim_device", extra="simulator")
    from nionswift_plugin.stemctx.harm.benchmark import HarmPlan, measure

    said = Console(stderr=True, highlight=False)
    with said.status("opening Nion Swift") as status:
        report = measure(HarmPlan(size, dwell_us, frames, turns, cycles, partial), status.update)
    if as_json:
        typer.echo(json.dumps(report.summary()))
    else:
        Console(highlight=False).print(_table(report))


def _table(report: HarmReport) -> Table:
    table = Table(
        title=f"Nion Swift with live flags: {report.side_px} × {report.side_px} pixels, {report.frames} frames, "
        f"load average {report.load_average:.1f}"
    )
    for column in ("what", "measured", "target", ""):
        table.add_column(column)
    for line in report.lines():
        table.add_row(line.what, line.measured, line.target, "met" if line.met else "[red]missed[/]")
    return table
