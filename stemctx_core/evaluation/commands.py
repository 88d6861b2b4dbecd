"""`stemctx evaluate`: the figures that the documentation quotes, as a page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    output: Annotated[
        Path, typer.Option(help="Folder of the page, the JSON, and what a run that was ended goes on from.")
    ] = Path("runs/evaluation"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute's worth; its figures are not to be quoted.")
    ] = False,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a model instead of the shipped one.")] = None,
    seed: Annotated[int, typer.Option(min=2, help="Of scenes, frames and the map.")] = 20260609,
    reference: Annotated[
        bool, typer.Option(help="The Bayes reference, which takes longer than all the rest.")
    ] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and judge patches.")] = 2,
) -> None:
    """Measure the classifier on scenes that training never drew: accuracy, entropy, calibration and what limits them.

    Over the 576 benchmark cases and conditions beyond them, by dose, beside the exact Bayes posterior. Writes
    evaluation.html, which opens anywhere, and evaluation.json, whose keys docs/evaluation.md explains. A run that was
    ended goes on where it stood.

    stemctx evaluate --quick --output runs/quick-evaluation
    """
    from stemctx_core.evaluation.plan import FULL, QUICK
    from stemctx_core.evaluation.run import evaluate as run
    from stemctx_core.evaluation.run import progress_bars
    from stemctx_core.evaluation.stages import Settings

    console = Console(width=120)
    settings = Settings(output, QUICK if quick else FULL, bundle, seed, reference, workers)
    with progress_bars(console) as show:
        told = run(settings, show)
    shown = Table(title="What was demanded")
    for head in ("demand", "where", "target", "measured", "met"):
        shown.add_column(head, justify="right" if head == "measured" else "left")
    for d in told["must_show"]:
        figure = d["measured"] or {"value": None, "se": None}
        value = "" if figure["value"] is None else f"{figure['value']:.4g}"
        error = "" if figure["se"] is None else f" ± {figure['se']:.2g}"
        met = {True: "yes", False: "NO", None: ""}[d["met"]]
        shown.add_row(d["line"], d["what"], d["target"], value + error, met)
    console.print(shown)
    for name, reason in told["skipped"].items():
        console.print(f"not measured, {name}: {reason}")
    console.print(f"page {output / 'evaluation.html'}, figures {output / 'evaluation.json'}")
