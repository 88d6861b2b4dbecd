"""The commands `stemctx benchmark ...`: how fast this machine is."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from realtime.benchmarks.newest_command import mailbox
from realtime.benchmarks.soak_command import soak
from stemctx_core.errors import InputError

_LEAST_SIDE, _LARGEST_SIDE = 256, 4096


def register(app: typer.Typer) -> None:
    """Add the commands."""
    benchmark = typer.Typer(
        no_args_is_help=True, help="How fast this machine judges frames.\n\nstemctx benchmark frame --sizes 512"
    )
    benchmark.command("frame")(frame)
    benchmark.command("soak")(soak)
    benchmark.command("mailbox")(mailbox)
    app.add_typer(benchmark, name="benchmark")


def frame(
    sizes: Annotated[str, typer.Option(help="Pixels along each side, with commas between.")] = "512,1024,2048",
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="Of the server, and of the alternative.")
    ] = os.cpu_count() or 1,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Frames of each kind and size.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the specimen and of the counting noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Time a frame from the client's hands to its answer, stage by stage, beside the obvious alternative.

    A server process is started, and frames of doped WSe2 with vacancies, 0.2 Å a pixel, 1e5 e/Å², go to it over
    loopback. The alternative is scikit-image's peak_local_max, squares of pixels around the peaks and the same net in
    eager PyTorch, in this process; it is left out where PyTorch or onnx is not installed.

    stemctx benchmark frame --sizes 512,1024 --repeats 10

    Keys of the JSON: threads, repeats, seed, engine, cores, load_average; sizes, for each of them side_px, sites,
    first_frame and tracked_frame (total_ms and stages_ms with p50 and p95, and times_faster than the alternative, and same_work_times_faster of sites, patches and posterior alone),
    server_memory_mib (last, largest), vacant_sites (true, found_by_stemctx, flagged_by_stemctx, found_by_peaks) and
    alternative (total_ms, stages_ms, peaks).
    """
    from realtime.benchmarks.run import FramePlan, measure

    plan = FramePlan(_sides(sizes), threads, repeats, seed)
    said = Console(stderr=True, highlight=False)
    with said.status("starting a server") as status:
        figures = measure(plan, status.update)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    console = Console(highlight=False)
    for size in figures["sizes"]:
        console.print(_table(size))
        console.print(_words(size))
    console.print(
        f"{figures['engine']}, {threads} threads, {repeats} frames of each kind, load average of the machine "
        f"{figures['load_average'][0]:g} on {figures['cores']} cores"
    )


def _sides(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if not sides or not all(_LEAST_SIDE <= side <= _LARGEST_SIDE for side in sides):
        raise InputError(
            f"--sizes {text} cannot be. Give numbers from {_LEAST_SIDE} to {_LARGEST_SIDE} with commas between, "
            "such as 512,1024."
        )
    return sides


def _table(size: dict[str, Any]) -> Table:
    table = Table(title=f"{size['side_px']} × {size['side_px']} pixels, {size['sites']} sites; ms, p50 (p95)")
    table.add_column("")
    ways = {"first frame": size["first_frame"], "tracked frame": size["tracked_frame"]}
    if "alternative" in size:
        ways["alternative"] = size["alternative"]
    for name in ways:
        table.add_column(name, justify="right")
    for stage in dict.fromkeys(stage for way in ways.values() for stage in way["stages_ms"]):
        table.add_row(stage, *(_said(way["stages_ms"].get(stage)) for way in ways.values()))
    table.add_section()
    table.add_row("total", *(_said(way["total_ms"]) for way in ways.values()))
    return table


def _said(quantiles: dict[str, float] | None) -> str:
    return "" if quantiles is None else f"{quantiles['p50']:.1f} ({quantiles['p95']:.1f})"


def _words(size: dict[str, Any]) -> str:
    vacant, memory = size["vacant_sites"], size["server_memory_mib"]
    words = (
        f"vacant sites: {vacant['true']}, found {vacant['found_by_stemctx']}, "
        f"flagged as vacancies {vacant['flagged_by_stemctx']}"
    )
    if "alternative" in size:
        words += (
            f", found by peaks {vacant['found_by_peaks']}\n"
            f"times faster than the alternative: first frame {size['first_frame']['times_faster']:.2f}, "
            f"tracked frame {size['tracked_frame']['times_faster']:.2f}\n"
            "the same without what the alternative leaves out (transport, calibration, decision): "
            f"{size['first_frame']['same_work_times_faster']:.2f}, {size['tracked_frame']['same_work_times_faster']:.2f}"
        )
    else:
        words += (
            "\nthe alternative is left out: PyTorch or onnx is not installed (pip install 'stemctx[training]')"
        )
    return words + f"\nmemory of the server: {memory['last']:.0f} MiB, at most {memory['largest']:.0f} MiB"
