"""`stemctx benchmark soak`: frames at a steady rate for long; `realtime.benchmarks.commands` adds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from realtime.benchmarks.soak import Sample

_HELP_RECORD = "Record to this HDF5 file meanwhile; at 20 Hz and 256 pixels 20 GB an hour."


def soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 30.0,
    rate_hz: Annotated[float, typer.Option(min=0.1, max=200.0, help="Frames offered a second.")] = 20.0,
    side_px: Annotated[int, typer.Option(min=192, max=4096, help="Pixels along each side.")] = 256,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the server; all cores but one by default.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help=_HELP_RECORD)] = None,
    output: Annotated[Path | None, typer.Option(help="Write the JSON to this file too.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the specimen and of the counting noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Offer frames to a server of its own for long, and tell whether memory, files and threads stay as they are.

    stemctx benchmark soak --minutes 30 --rate-hz 20 --json

    Slopes are per hour, with their standard error, after the first fifth of the time. A sample is taken sixty times a
    run, at most every second: keys of the JSON: plan, slopes, latency_p50_ms, latency_p99_ms, counts, samples,
    restarts, refused, engine, recorded.
    """
    from realtime.benchmarks.soak import SoakPlan
    from realtime.benchmarks.soak import soak as run
    from stemctx_core.whole_files import write_whole

    sample_s = max(1.0, minutes)
    plan = SoakPlan(minutes, rate_hz, side_px, threads, seed, sample_s, record)
    said = Console(stderr=True, highlight=False)
    with said.status("starting a server") as status:

        def tell(sample: Sample) -> None:
            status.update(
                f"{sample.seconds / 60:.1f} of {minutes:g} min: server {sample.server_memory_mib:.0f} MiB, "
                f"{sample.latency_p99_ms:.0f} ms p99, {sample.replaced} replaced"
            )

        figures = run(plan, tell)
    if output is not None:
        write_whole(output, json.dumps(figures) + "\n")
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        Console(highlight=False).print(_table(figures))


def _table(figures: dict[str, Any]) -> Table:
    counts, p99 = figures["counts"], figures["latency_p99_ms"]
    table = Table(
        "", "smallest", "largest", "slope an hour",
        title=f"{counts['answered']} answered, {counts['replaced']} replaced by newer ones, {counts['errors']} without "
        f"an answer; p50 {_number(figures['latency_p50_ms'])} ms, p99 {_number(p99['first_third'])} ms in the first "
        f"third, {_number(p99['last_third'])} ms in the last",
    )  # fmt: skip
    for name, told in figures["slopes"].items():
        fitted = f"{_number(told['per_hour'])} ± {_number(told['standard_error'])}"
        table.add_row(name.replace("_", " "), _number(told["smallest"]), _number(told["largest"]), fitted)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
