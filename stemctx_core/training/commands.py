"""`stemctx train`: a classifier from nothing but the response library."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stemctx_core.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    output: Annotated[Path, typer.Option(help="Folder of the bundle to write.")] = Path("runs/model"),
    work_folder: Annotated[
        Path, typer.Option(help="Checkpoints and log; a run that was killed goes on.")
    ] = Path("runs/training"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A small one in minutes, not the shipped one.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=2, help="Optimiser steps instead of the plan's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that render patches.")] = 2,
    seed: Annotated[int, typer.Option(help="Of data and weights.")] = 1,
) -> None:
    """Train the candidate scorer on patches streamed from the renderer, and export it.

    Nothing is stored: patches of the 576 benchmark cases (and of continuous angles between them) are rendered while
    training runs. The result is a bundle that 'stemctx serve --bundle' and 'stemctx analyze --bundle' take.

    Example: stemctx train --quick --output runs/quick
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnxscript") is None:
        raise InputError(
            "Training needs PyTorch and onnxscript. Install them with: pip install 'stemctx[training]'."
        )
    from dataclasses import replace

    from stemctx_core.evaluation.benchmark import run_benchmark, table
    from stemctx_core.training.export import fit_temperature, write_bundle
    from stemctx_core.training.loop import FULL, QUICK
    from stemctx_core.training.loop import train as run

    plan = replace(QUICK if quick else FULL, seed=seed)
    if steps:
        plan = replace(plan, steps=steps)
    console = Console(width=120)
    with Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        console=console,
    ) as bar:
        task = bar.add_task(
            f"training on {plan.patches / 1e6:.1f} M patches", total=plan.steps, loss=float("nan")
        )
        net = run(
            plan, work_folder, workers, lambda done, total, loss: bar.update(task, completed=done, loss=loss)
        )
    console.print("fitting the temperature and exporting")
    temperature = fit_temperature(net, plan)
    write_bundle(net, plan, output, "candidate_scorer", temperature, {})
    rows = run_benchmark(output, patches_per_dose=2000 if quick else 20000)
    write_bundle(net, plan, output, "candidate_scorer", temperature, {"benchmark": [r.figures() for r in rows]})
    console.print(table(rows))
    console.print(f"bundle in {output}")
