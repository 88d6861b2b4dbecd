"""The report of agreement as one HTML file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Plot

from stemctx_core.agreement.measuring import Figure, Measured
from stemctx_core.agreement.ratings import DECIDED, MODEL
from stemctx_core.agreement.report import Kind, Pair, Panel, Report
from stemctx_core.look.colours import GRID, SERIES
from stemctx_core.look.report_page import Html, join, page, picture, table, tag, tile

_INK: Final = {"model": SERIES[0], "people": SERIES[4]}
_METHODS: Final = (
    "Accuracy is the share of sites where two raters say the same. Cohen's kappa is what of it is beyond chance, by each "
    "rater's own frequencies; it falls where defects are rare. PABAK takes every class as equally frequent instead. The "
    "Matthews correlation is 1 for full agreement and 0 for none beyond chance. A site that a person skipped does not "
    "count for that person. The majority is what more than half of the people say; a person is compared with the majority "
    "of the others."
)
_WEIGHTED: Final = (
    "Sites were drawn by chance from flagged, undecided and passed ones, and defects far more often than there are. In "
    "'as for all sites' each site is weighted by the inverse of the probability with which it was drawn."
)


def agreement_page(report: Report, files: Sequence[str]) -> str:
    """The report as a page that needs nothing else."""
    parts: list[Any] = [
        tag(
            "header",
            tag("h1", "Agreement of the model with people"),
            tag("p", f"From {', '.join(files)}.", class_="soft"),
        )
    ]
    for kind in report.kinds:
        parts += _kind(kind)
    parts += [
        tag("h2", "What the figures are"),
        tag("p", _METHODS),
        tag("p", _WEIGHTED),
        tag(
            "footer",
            f"Intervals: {report.coverage:.0%}, percentiles of {report.resamples} bootstrap draws, seed {report.seed}.",
        ),
    ]
    return page("Agreement of the model with people", parts)


def _kind(kind: Kind) -> list[Any]:
    people = ", ".join(f"{name} ({count})" for name, count in kind.people.items())
    frames = "one frame" if kind.frames == 1 else f"{kind.frames} frames"
    first = kind.pairs[0]
    parts: list[Any] = [
        tag("h2", kind.name),
        tag(
            "p",
            f"{kind.sites} labelled sites of {frames}, by {people}. Intervals from {kind.unit}.",
            class_="soft",
        ),
        tag("div", join(_tiles(first, kind.panel)), class_="tiles"),
        tag(
            "figure",
            picture(_kappas(kind), f"Cohen's kappa of each pair of raters at {kind.name}, with intervals"),
            class_="wide",
        ),
        tag("h3", "Over the labelled sites"),
        _figures([(pair, pair.sample) for pair in kind.pairs]),
    ]
    weighted = [(pair, pair.population) for pair in kind.pairs if pair.population is not None]
    if weighted:
        parts += [tag("h3", "As for all sites of the frames"), _figures(weighted)]
    parts.append(tag("h3", "Who said what"))
    for pair in kind.pairs:
        if pair.first != DECIDED:
            summary = tag("summary", f"{pair.first} with {pair.second}")
            opened = {"open": "open"} if pair is first else {}
            parts.append(tag("details", summary, _confusion(kind, pair), **opened))
    if kind.ties:
        parts.append(tag("p", f"No majority at {kind.ties} sites.", class_="soft"))
    return parts


def _tiles(pair: Pair, panel: Panel | None) -> list[Html]:
    words = f"Cohen's kappa, {pair.first} with {pair.second}"
    tiles = [tile(_value(pair.sample.kappa), _interval(pair.sample.kappa), words)]
    if pair.population is not None:
        kappa = pair.population.kappa
        tiles.append(tile(_value(kappa), _interval(kappa), f"{words}, as for all sites"))
    if panel is not None:
        tiles.append(tile(_value(panel.sample), _interval(panel.sample), "Fleiss' kappa among people"))
        less = panel.model_minus_people
        tiles.append(
            tile(_value(less), _interval(less), "mean kappa of the model with people, less that among people")
        )
    return tiles


def _figures(pairs: Sequence[tuple[Pair, Measured]]) -> Html:
    heads = ["", "with", "sites>", "accuracy>", "kappa>", "PABAK>", "Matthews>"]
    rows = [
        [pair.first, pair.second, of.sites, *(_cell(f) for f in (of.accuracy, of.kappa, of.pabak, of.mcc))]
        for pair, of in pairs
    ]
    return table(heads, rows)


def _confusion(kind: Kind, pair: Pair) -> Html:
    counts = pair.sample.confusion
    used = [i for i in range(len(kind.classes)) if any(counts[i]) or any(row[i] for row in counts)]
    most = max(max(row) for row in counts)
    head = tag("tr", tag("th", f"{pair.first} ↓  {pair.second} →"), *(tag("th", kind.classes[i]) for i in used))
    rows = []
    for i in used:
        cells = [
            tag(
                "td",
                f"{counts[i][j]:.0f}",
                style=f"background: rgba({'0, 158, 115' if i == j else '213, 94, 0'}, {0.6 * counts[i][j] / most:.2f})",
            )
            for j in used
        ]
        rows.append(tag("tr", tag("th", kind.classes[i]), *cells))
    return tag("table", tag("thead", head), tag("tbody", join(rows)))


def _kappas(kind: Kind) -> bytes:
    """PNG of Cohen's kappa of each pair of raters with its interval."""
    pairs = [p for p in kind.pairs if p.sample.kappa.value is not None]
    figure = Plot(figsize=(8.4, 0.7 + 0.34 * max(1, len(pairs))), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, pair in enumerate(pairs):
        kappa = pair.sample.kappa
        colour = _INK["model" if pair.first in (MODEL, DECIDED) else "people"]
        if kappa.low is not None and kappa.high is not None:
            axes.plot(
                [kappa.low, kappa.high], [row, row], color=colour, lw=2.5, alpha=0.5, solid_capstyle="butt"
            )
        if kappa.value is not None:
            axes.plot(kappa.value, row, "o", color=colour, ms=6)
    axes.set(
        yticks=range(len(pairs)), yticklabels=[f"{p.first} – {p.second}" for p in pairs], ylim=(len(pairs) - 0.5, -0.5),
        xlabel="Cohen's kappa",
    )  # fmt: skip
    lowest = min([0.0, *(p.sample.kappa.low or 0.0 for p in pairs)])
    axes.set_xlim(max(-1.0, lowest - 0.02), 1.02)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()


def _value(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:.2f}".replace("-", "−")


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.2f} to {figure.high:.2f}".replace("-", "−")


def _cell(figure: Figure) -> Html:
    value = "–" if figure.value is None else f"{figure.value:.3f}".replace("-", "−")
    between = _interval(figure)
    return tag("span", value, *([" ", tag("small", f"({between})", class_="soft")] if between else []))
