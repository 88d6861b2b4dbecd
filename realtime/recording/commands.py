"""The commands `stemctx replay` and `stemctx recover`: recordings through the live path again, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stemctx_core.errors import InputError

if TYPE_CHECKING:
    from realtime.recording.replay_report import ReplayReport

_DISAGREES = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(replay)
    app.command()(recover)


def replay(
    recording: Annotated[Path, typer.Argument(help="What '--record' wrote (HDF5).")],
    speed: Annotated[
        str,
        typer.Option(help="'1' as recorded, '2' twice as fast, 'max' each frame after the answer to the last."),
    ] = "max",
    server: Annotated[
        str | None, typer.Option(help="Address of a running 'stemctx serve'; one is started where left out.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of another model bundle.")] = None,
    engine: Annotated[str | None, typer.Option(help="What runs the model.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU engine.")] = None,
    output: Annotated[Path | None, typer.Option(help="Record the replay to this file.")] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Posteriors may differ by so much.")] = 1e-3,
    rows: Annotated[int, typer.Option(min=0, help="Frames to show that disagree.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Run recorded frames through server and client again, and compare the results with those recorded.

    Exit code 0: every frame was judged as before. 1: not. A change of model, settings or version shows here:

    stemctx replay live.h5 --bundle my-model --tolerance 0.01

    Evidence of the frames of one field adds up; a replay that leaves frames out (a speed that the server does not
    keep up with) or a recording that began in the middle of a field need not agree.
    """
    from realtime.recording.replay import ReplayPlan
    from realtime.recording.replay import replay as run

    if server is not None and (bundle is not None or engine is not None or threads is not None):
        raise InputError(
            "A server has its own model and engine. Leave --bundle, --engine and --threads out with --server."
        )
    plan = ReplayPlan(recording, _speed(speed), server, bundle, engine, threads, output, tolerance)
    with Console(stderr=True, highlight=False).status("starting") as status:
        report = run(plan, lambda done, of: status.update(f"{done} of {of} frames"))
    if as_json:
        typer.echo(json.dumps(report.summary()))
    else:
        _show(report, rows)
    if not report.agrees:
        raise typer.Exit(_DISAGREES)


def recover(
    damaged: Annotated[Path, typer.Argument(help="A recording with frames that cannot be read.")],
    output: Annotated[Path, typer.Argument(help="New file for every frame that is whole.")],
) -> None:
    """Save the frames that are whole of a damaged recording.

    A recording whose program was killed opens by itself; this is for one of which some frames are
    unreadable:

    stemctx recover live.h5 saved.h5
    """
    from realtime.recording.recovery import recover as run

    recovered = run(damaged, output)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{len(recovered.frames)} frames saved to {output}, {len(recovered.lost)} lost")
    for name in recovered.lost:
        console.print(f"lost: frame {int(name)}")
    if not recovered.frames:
        raise typer.Exit(_DISAGREES)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"--speed {text} cannot be. Give a number such as 1, or 'max'.") from error


def _show(report: ReplayReport, rows: int) -> None:
    console = Console(soft_wrap=True, highlight=False)
    told = report.summary()
    table = Table("", "", show_header=False, title=f"{told['compared']} of {told['recorded']} frames compared")
    largest = told["largest_posterior_difference"]
    for name, value in {
        "sites before, now, matched": f"{told['sites']}, {told['sites_again']}, {told['matched']}",
        "decisions changed": told["decisions_changed"],
        "largest posterior difference": "-" if largest is None else f"{largest:.3g}",
        "frames that disagree": told["disagreeing"],
        "frames replaced by newer ones": told["replaced"],
        "model before": ", ".join(m[:12] for m in told["models_before"]) or "-",
        "model now": told["model_now"][:12],
    }.items():
        table.add_row(name, str(value))
    console.print(table)
    for frame in report.disagreeing[:rows]:
        c = frame.comparison
        words = (
            f"{c.sites} and {c.sites_again} sites, {c.matched} matched, {c.decisions_changed} decisions changed, "
            f"posteriors differ by {c.largest_posterior_difference:.3g}"
            if c is not None
            else f"before: {frame.error_before or 'a result'}; now: {frame.error or 'a result'}"
        )
        console.print(f"frame {frame.number}: {words}")
    console.print("agrees" if report.agrees else f"does not agree within {report.tolerance:g}")
