"""The command `stemctx agreement`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stemctx_core.errors import InputError

if TYPE_CHECKING:
    from stemctx_core.agreement.measuring import Figure
    from stemctx_core.agreement.report import Kind


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("agreement")(agreement)


def agreement(
    labels: Annotated[
        list[Path],
        typer.Argument(help="Books (.sqlite), tables (.csv) and operators' labels (.jsonl), together."),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    html: Annotated[Path | None, typer.Option(help="Report to write: one HTML file.")] = None,
    resample: Annotated[
        str,
        typer.Option(
            help="What intervals are drawn from: frames, patches, or auto (frames where there are 10)."
        ),
    ] = "auto",
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Draws of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option(help="What the draws follow from.")] = 0,
) -> None:
    """How far the model agrees with people, and people with each other.

    stemctx agreement book.sqlite --html agreement.html

    Accuracy, Cohen's and Fleiss' kappa, prevalence- and bias-adjusted kappa (PABAK) and Matthews correlation, with
    95 % bootstrap intervals; where sites were drawn by chance, also as for all sites of the frames.
    """
    import msgspec

    from stemctx_core.agreement.ratings import read_rows
    from stemctx_core.agreement.report import report
    from stemctx_core.whole_files import write_whole

    told = report(read_rows(labels), resample, resamples, seed)
    if html is not None:
        from stemctx_core.agreement.page import agreement_page

        try:
            write_whole(html, agreement_page(told, [path.name for path in labels]))
        except OSError as error:
            raise InputError(f"The report cannot be written: {error}. Choose another place.") from error
    if json:
        typer.echo(msgspec.json.encode(told).decode())
        return
    console = Console(width=max(124, Console().width), highlight=False)
    for kind in told.kinds:
        for weighted in (False, True):
            if not weighted or any(pair.population for pair in kind.pairs):
                console.print(_table(kind, weighted))
        _tell(kind, console)
    if html is not None:
        console.print(f"wrote {html}")


def _table(kind: Kind, weighted: bool) -> Table:
    how = "as for all sites of the frames" if weighted else f"{kind.sites} labelled sites"
    shown = Table(title=f"{kind.name}: {how}", title_justify="left")
    for name in ("", "with"):
        shown.add_column(name, no_wrap=True)
    for name in ("sites", "accuracy", "kappa", "PABAK", "MCC"):
        shown.add_column(name, justify="right", no_wrap=True)
    for pair in kind.pairs:
        of = pair.population if weighted else pair.sample
        if of is not None:
            figures = (spoken(f) for f in (of.accuracy, of.kappa, of.pabak, of.mcc))
            shown.add_row(pair.first, pair.second, str(of.sites), *figures)
    return shown


def _tell(kind: Kind, console: Console) -> None:
    panel = kind.panel
    if panel is not None:
        console.print(
            f"Fleiss' kappa of {len(kind.people)} people over {panel.sites} sites: {spoken(panel.sample)}"
        )
        console.print(
            f"Kappa of the model with people less that among people: {spoken(panel.model_minus_people)}"
        )
        if kind.ties:
            console.print(f"No majority at {kind.ties} of {kind.sites} sites.")
    frames = "one frame" if kind.frames == 1 else f"{kind.frames} frames"
    console.print(f"[dim]Intervals: 95 %, {kind.unit} of {frames} drawn again.[/]\n")


def spoken(figure: Figure) -> str:
    """A figure with its interval."""
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]".replace("[", "(").replace("]", ")")
