"""What every plot of the report shares: size, colours, axes, and how it becomes a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

from stemctx_core import formats

#: Okabe and Ito's colours, by what they stand for in every plot.
SCORER: Final = "#0072B2"
UNKNOWN: Final = "#D55E00"
BAYES: Final = "#1b1f24"
IMAGE: Final = "#009E73"
PREDICTIONS: Final = "#999999"
DOSE_COLOURS: Final = ("#56B4E9", "#0072B2", "#CC79A7", "#D55E00")
QUALITATIVE: Final = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999", "#332288")
_INK: Final = "#1b1f24"
_SOFT: Final = "#59636e"
_GRID: Final = "#e3e7eb"
_DPI: Final = 150


def new(rows: int, columns: int, height_inches: float, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure as wide as the page with (rows, columns) quiet axes."""
    figure = Figure(figsize=(9.2, height_inches), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        quiet(ax)
    return figure, axes


def quiet(ax: Any) -> None:
    """Thin grid, no box."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#b6bec6")
    ax.tick_params(which="both", labelsize=8.5, labelcolor=_SOFT, color="#b6bec6", length=3)
    ax.grid(True, color=_GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.title.set_fontsize(10)
    ax.title.set_color(_INK)


def logarithmic(ax: Any) -> None:
    """A logarithmic y axis that names its decades only."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatterSciNotation())
    ax.yaxis.set_minor_formatter(NullFormatter())


def label(ax: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Words of an axis in the report's size."""
    ax.set_title(title, fontsize=10, color=_INK, loc="left", fontweight="bold")
    ax.set_xlabel(x, fontsize=9, color=_SOFT)
    ax.set_ylabel(y, fontsize=9, color=_SOFT)


def legend_below(figure: Figure, axes: Sequence[Any], columns: int = 5) -> None:
    """One legend of all axes below the figure, each name once."""
    named: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    if named:
        figure.legend(
            list(named.values()),
            list(named),
            loc="outside lower center",
            ncols=columns,
            fontsize=9,
            frameon=False,
        )


def power(dose: float) -> str:
    """A dose as titles name it."""
    return formats.dose(dose)


def png(figure: Figure) -> bytes:
    """The figure as a file, the same bytes for the same figure."""
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": "stemctx"})
    return data.getvalue()
