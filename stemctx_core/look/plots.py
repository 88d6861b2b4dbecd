"""What every plot of a report shares: size, colours, axes, and how it becomes a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

from stemctx_core.look.colours import AXIS, GRID, INK, SERIES, SOFT

#: What stands for what in every plot.
SCORER: Final = SERIES[0]
UNKNOWN: Final = SERIES[1]
BAYES: Final = INK
IMAGE: Final = SERIES[2]
PREDICTIONS: Final = SOFT
DOSE_COLOURS: Final = (SERIES[5], SERIES[0], SERIES[3], SERIES[1])
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
    ax.spines[["left", "bottom"]].set_color(AXIS)
    ax.tick_params(which="both", labelsize=8.5, labelcolor=SOFT, color=AXIS, length=3)
    ax.grid(True, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.title.set_fontsize(10)
    ax.title.set_color(INK)


def logarithmic(ax: Any) -> None:
    """A logarithmic y axis that names its decades only."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatterSciNotation())
    ax.yaxis.set_minor_formatter(NullFormatter())


def label(ax: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Words of an axis in the report's size."""
    ax.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold")
    ax.set_xlabel(x, fontsize=9, color=SOFT)
    ax.set_ylabel(y, fontsize=9, color=SOFT)


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


def png(figure: Figure) -> bytes:
    """The figure as a file, the same bytes for the same figure."""
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": "stemctx"})
    return data.getvalue()
