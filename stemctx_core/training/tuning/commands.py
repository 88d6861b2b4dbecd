"""`stemctx tune`: the shipped classifier, fitted a little to labelled patches of a microscope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stemctx_core.errors import InputError
from stemctx_core.extras import need

if TYPE_CHECKING:
    from stemctx_core.training.tuning.tune import Tuning

#: Exit code where the labels would make the model forget.
REFUSED = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    labels: Annotated[list[Path], typer.Argument(help="Files of labels, as docs/labels.md describes them.")],
    output: Annotated[Path, typer.Option(help="Folder of the bundle to write; it must not be there yet.")],
    bundle: Annotated[
        Path | None,
        typer.Option("--from", help="Bundle to tune.", show_default="the shipped one"),
    ] = None,
    drawn: Annotated[
        str | None,
        typer.Option(
            help="How the labelled sites were come by: 'typical' of a crystal, as the 'labels' say, or as many of each "
            "species, 'balanced'.",
            show_default="labels where each has an inclusion probability, else typical",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of a tuning's settings, see docs/tuning.md.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Tune a classifier on tens to thousands of labelled patches, where that helps and nothing is forgotten.

    Several changes are tried, from one number to a few hundred, each on labels that it was not fitted to; the simplest
    that helps is taken. Where none does, nothing is written. Where rendered patches of other materials and
    conditions would be judged worse, the tuned model is refused with the figures (exit code 3).

    stemctx tune stemctx_labels.jsonl --output runs/tuned

    Then judge by it:

    stemctx analyze frame.tif --host WSe2 --bundle runs/tuned
    """
    need("Tuning", ("torch", "onnx", "onnxscript"), "training")
    from stemctx_core.classifier.classifier import load_bundle
    from stemctx_core.judging.trained import TrainedRanges
    from stemctx_core.simulation.library import shipped_library
    from stemctx_core.training.settings_file import read_settings
    from stemctx_core.training.tuning.bundle import check_free, tunable, write_tuned
    from stemctx_core.training.tuning.labels import read_labels
    from stemctx_core.training.tuning.plan import TuningPlan
    from stemctx_core.training.tuning.shares import Drawn
    from stemctx_core.training.tuning.tune import Outcome
    from stemctx_core.training.tuning.tune import tune as run

    if drawn is not None and drawn not in set(Drawn):
        raise InputError(f"--drawn is '{drawn}'. Give one of {', '.join(Drawn)}.")
    see = "See docs/tuning.md."
    plan = read_settings(config, TuningPlan, "tuning", see) if config is not None else TuningPlan()
    if seed is not None:
        plan = msgspec.structs.replace(plan, seed=seed)
    check_free(output)
    base = load_bundle(bundle)
    console = Console(width=110, quiet=as_json)
    found = read_labels(
        labels, shipped_library(), TrainedRanges.from_card(base.card), Drawn(drawn) if drawn else None
    )
    console.print(f"{len(found)} labels of {len(found.frames())} frames: {_listed(found.counts())}")
    for reason, count in found.left_out.items():
        console.print(f"left out: {count} × {reason}", markup=False)
    told = run(tunable(base), found, plan, lambda doing: console.print(doing + " …"))
    card: dict[str, Any] | None = None
    if told.outcome is Outcome.TUNED:
        console.print("exporting, and fitting the prediction sets …")
        card = write_tuned(base, told, found, plan, output)
    if as_json:
        name = f"{card['name']} {card['sha256'][:12]}" if card else None
        typer.echo(json.dumps({"words": told.words, "model": name, **told.figures()}))
    _print(console, told)
    if card:
        console.print(f"bundle in {output}: {card['name']} {card['sha256'][:12]}", markup=False)
    if told.outcome is Outcome.REFUSED:
        raise typer.Exit(REFUSED)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {species}" for species, count in counts.items())


def _print(console: Console, told: Tuning) -> None:
    figures = told.figures()
    tried = Table(title="on labels that it was not tuned on")
    for column in ("change", "numbers", "gain, nats a label", "helps"):
        tried.add_column(column, justify="right")
    for t in told.tried:
        gain = f"{t.gain.value:+.4f} ± {t.gain.standard_error:.4f}"
        tried.add_row(t.rung.name, str(t.parameters), gain, "yes" if t.helps else "no")
    console.print(tried)
    shown = Table(title="before and after")
    for column in ("", "before", "after"):
        shown.add_column(column)
    for what, before, after in (
        ("labels", figures["labels_before"], figures["labels_cross_validated"]),
        ("rendered", figures["rendered_before"], figures["rendered_after"]),
    ):
        for name in ("negative_log_likelihood", "accuracy", "calibration_error"):
            shown.add_row(
                f"{what}: {name.replace('_', ' ')}", _said(before[name]), _said(after[name]) if after else "–"
            )
    console.print(shown)
    console.print(told.words, markup=False)


def _said(figure: Any) -> str:
    if isinstance(figure, dict):
        return f"{figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"
    return f"{figure:.4f}"
