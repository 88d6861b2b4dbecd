"""The command `stemctx live`: defects flagged during a scan of the simulated microscope, scored against the truth."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nionswift_plugin.stemctx.harm.commands import add_benchmark
from nionswift_plugin.stemctx.needed import need
from realtime.keys.options import KeyOption, ServerKeyOption, given_keys
from stemctx_core.errors import InputError
from stemctx_core.look import formats

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.live.report import JudgedFrame, LiveReport
    from sim.scoring import Score

_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command()(live)
    add_benchmark(app)


def live(
    host: Annotated[str, typer.Option(help="Host monolayer.")] = "WSe2",
    dopant: Annotated[str, typer.Option(help="Dopant on the metal site, or 'none'.")] = "V",
    high_tension_kv: Annotated[float, typer.Option(help="Beam energy.")] = 80.0,
    inner_mrad: Annotated[
        float, typer.Option(help="Inner collection semi-angle of the HAADF detector.")
    ] = 70.0,
    outer_mrad: Annotated[float, typer.Option(help="Outer collection semi-angle.")] = 200.0,
    fov_nm: Annotated[float, typer.Option(help="Field of view.")] = 10.0,
    size: Annotated[int, typer.Option(min=32, max=4096, help="Pixels along each side.")] = 512,
    dwell_us: Annotated[float, typer.Option(help="Time on each pixel.")] = 12.0,
    probe_current_pa: Annotated[
        float, typer.Option(help="With the other defaults, 51 pA make 1.0e5 electrons per square ångström.")
    ] = 51.0,
    frames: Annotated[int, typer.Option(min=1, help="How many frames to scan.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the specimen and of the counting noise.")] = 0,
    output: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for results.jsonl, overlay.png and summary.json.")
    ] = Path("runs/live"),
    record: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="HDF5 file to record frames and results to, for 'stemctx replay'."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a running 'stemctx serve' instead of a process of its own.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the server that is started; all cores but one by default."),
    ] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    window: Annotated[
        bool, typer.Option("--window", help="Open Nion Swift with both plug-ins instead; needs a display.")
    ] = False,
) -> None:
    """Scan the simulated microscope and flag its defects while it scans.

    stemctx live --host MoS2 --dopant Re --frames 3

    The scan is that of Nion's acquisition software; the frames go to an inference server of its own process, as they
    do from Nion Swift. Every site of the specimen is known, so that each line can say how many flags are right.
    """
    if window:
        _open_window()
        return
    key_files = given_keys(server, key, server_key)
    numbers = {
        "--high-tension-kv": high_tension_kv,
        "--inner-mrad": inner_mrad,
        "--outer-mrad": outer_mrad,
        "--fov-nm": fov_nm,
        "--dwell-us": dwell_us,
        "--probe-current-pa": probe_current_pa,
    }
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} of {value:g} cannot be. Give a positive number.")
    need("nion.usim_device", "nion.device_kit", extra="simulator")
    # Nion's packages take a second to import, which no other command should wait for.
    from nionswift_plugin.stemctx.live.report import LiveFolder
    from nionswift_plugin.stemctx.live.run import LiveRun
    from realtime.recording.recorder import require_new
    from sim.instrument import MicroscopeSettings

    if record is not None:
        require_new(record)

    settings = MicroscopeSettings(
        host=host,
        dopant=None if dopant.lower() == "none" else dopant,
        specimen_seed=seed,
        high_tension_kv=high_tension_kv,
        haadf_mrad=(inner_mrad, outer_mrad),
        probe_current_pa=probe_current_pa,
        dwell_us=dwell_us,
        fov_nm=fov_nm,
        size=(size, size),
        noise_seed=seed,
    )
    folder = LiveFolder(output)
    console = Console(highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[of]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=float(frames), of="")

        def progress(scanned: float) -> None:
            bar.update(task, completed=scanned, description="scanning", of=f"{int(scanned)}/{frames} frames")

        def answered(frame: JudgedFrame) -> None:
            folder.add(frame)
            bar.console.print(_line(frame))

        report = LiveRun(
            settings,
            frames,
            on_frame=answered,
            on_progress=progress,
            address=server,
            threads=threads,
            key_files=key_files,
            record=record,
        ).run()
    if report.latencies_ms:
        folder.write(report)
    _say_summary(console, report, output)
    if report.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _line(frame: JudgedFrame) -> str:
    """One frame in one line."""
    result = frame.result
    head = f"frame {frame.number}"
    if result.refusal is not None:
        return f"{head}  refused: {result.refusal.reason} {result.refusal.fix}  {formats.latency(frame.latency_ms)}"
    counts = "  ".join(f"{species} {count}" for species, count in result.flag_counts().items()) or "no flags"
    unsure = len(result.undecided())
    return f"{head}  {counts}  undecided {unsure}  {_rates(frame.score.strict)}  {formats.latency(frame.latency_ms)}"


def _say_summary(console: Console, report: LiveReport, output: Path) -> None:
    summary = report.summary()
    frames = summary["frames"]
    console.print(
        f"{frames['scanned']} frames scanned, {frames['answered']} answered, {frames['replaced']} replaced by newer "
        f"ones, {frames['refused']} refused"
    )
    console.print(f"species and place right: {_rates(report.total.strict)}")
    console.print(f"any defect at its place: {_rates(report.total.detection)}")
    if report.latencies_ms:
        latency = summary["latency_ms"]
        console.print(
            f"latency from last row to result: median {formats.latency(latency['p50'])}, 95 % {formats.latency(latency['p95'])}"
        )
    if report.last is not None:
        engine = report.last.result.engine
        console.print(f"engine: {engine.name}, {engine.reason}")
        for line in _context_lines(summary["context"]):
            console.print(line)
        for warning in report.last.result.warnings:
            console.print(f"note: {escape(warning)}")
        console.print(f"written to {output}{os.sep}")
    if (recording := report.recording) is not None:
        console.print(f"recorded: {recording.written} frames in {recording.path}, {recording.lost} lost")
        if recording.reason:
            console.print(f"[bold red]recording {recording.state}:[/] {escape(recording.reason)}")


def _context_lines(context: dict[str, Any]) -> list[str]:
    lines = []
    for name, quantity in context.items():
        if isinstance(quantity, dict) and "type" in quantity:
            said = (
                f"{quantity['value']:.6g} ({quantity['source']}: {quantity['detail']})"
                if "value" in quantity
                else f"not known: {quantity['reason']}"
            )
            lines.append(f"{name} {said}")
    return lines


def _rates(score: Score) -> str:
    def said(value: float | None) -> str:
        return formats.NONE if value is None else f"{value:.3f}"

    return f"precision {said(score.precision)} recall {said(score.recall)}"


def _open_window() -> None:
    """Run Nion Swift until its window is closed."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise InputError(
            "There is no display for Nion Swift's window (DISPLAY is not set). Run it on a desktop or under "
            "'xvfb-run', or leave --window out."
        )
    need("nion.nionswift_tool", "nion.swift", extra="plugin")
    need("nion.usim_device", extra="simulator")
    ended = subprocess.run([sys.executable, "-m", "nion.swift.command"], check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)
