"""`stemctx evaluate`: the figures that the README quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    bundle: Annotated[Path | None, typer.Option(help="Folder of a model instead of the shipped one.")] = None,
    patches: Annotated[int, typer.Option(min=100, help="Patches at each dose.")] = 20000,
    output: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Of the test scenes.")] = 20260609,
) -> None:
    """Accuracy, entropy and calibration over the 576 benchmark cases by dose, with full context.

    'physics only' is the accuracy of the predicted means and covariances without the trained net.

    Example: stemctx evaluate --patches 20000
    """
    from stemctx_core.evaluation.benchmark import run_benchmark, table

    console = Console(width=120)
    with console.status("evaluating"):
        rows = run_benchmark(bundle, patches, seed)
    console.print(table(rows))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps([row.figures() for row in rows], indent=1) + "\n")
