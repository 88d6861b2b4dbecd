"""The overlay picture: a frame with what was said of its sites, for reports and for eyes."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS, UNDECIDED
from stemctx_core.results import Decision, FrameResult
from stemctx_core.whole_files import write_whole

_MARKERS: Final = {
    Role.DOPANT: "o",
    Role.METAL_VACANCY: "s",
    Role.CHALCOGEN_VACANCY: "^",
    Role.CHALCOGEN_DIVACANCY: "v",
    Role.OXYGEN: "D",
    Role.METAL_ANTISITE: "P",
    Role.CHALCOGEN_ANTISITE: "X",
    Role.SUBSTITUTION: "<",
    Role.DOUBLE_SUBSTITUTION: ">",
    Role.DOPANT_WITH_VACANCY: "p",
}
#: Colour, marker and spoken name of each role; the marker alone tells them apart too.
ROLE_STYLE: Final = {role: (ROLE_COLOURS[role], _MARKERS[role], words) for role, words in ROLE_WORDS.items()}
_UNDECIDED: Final = (UNDECIDED, "x")
_CONTRAST_PERCENTILES: Final = (0.5, 99.8)
_INCHES: Final = 8.0
_LEGEND_POINTS: Final = 8.0
_DPI: Final = 150


def write_overlay(path: Path, image: NDArray[Any], result: FrameResult, title: str = "") -> None:
    """Draw the overlay into a PNG file, which appears whole or not at all."""
    write_whole(path, overlay_png(image, result, title))


def overlay_png(image: NDArray[Any], result: FrameResult, title: str = "", dpi: int = _DPI) -> bytes:
    """Draw a frame with its flags and abstentions.

    Parameters
    ----------
    image
        (height, width) intensities.
    result
        What was found in it; a refusal is written over the frame.
    title
        Above the picture.
    dpi
        Pixels for an inch; the longer side is eight inches.

    Returns
    -------
    bytes
        A PNG.
    """
    height, width = image.shape
    figure = Figure(figsize=_size(height, width), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    finite = np.where(np.isfinite(image), image, np.nan).astype(np.float32)
    low, high = np.nanpercentile(finite, _CONTRAST_PERCENTILES) if np.isfinite(finite).any() else (0.0, 1.0)
    axes.imshow(finite, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    if title:
        axes.set_title(title, fontsize=9)
    handles = _draw_sites(axes, result)
    if handles:
        # Markers of a small field are as wide as a column; in the legend they are as high as its words.
        scale = min(1.0, _LEGEND_POINTS / _marker_points(axes, result))
        figure.legend(
            handles=handles, loc="outside lower left", ncols=3, fontsize=_LEGEND_POINTS, frameon=False, markerscale=scale
        )  # fmt: skip
    if result.refusal is not None:
        axes.text(
            0.5, 0.5, f"Not judged: {result.refusal.reason}\n{result.refusal.fix}", transform=axes.transAxes, wrap=True,
            ha="center", va="center", fontsize=9, color="white", bbox={"facecolor": "black", "alpha": 0.7},
            in_layout=False,
        )  # fmt: skip
    if result.calibration is not None:
        _draw_scale_bar(axes, width, height, result.calibration.pixel_size_angstrom / 10)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()


def _size(height: int, width: int) -> tuple[float, float]:
    longer = max(height, width)
    return max(3.0, _INCHES * width / longer), max(3.0, _INCHES * height / longer + 0.6)


def _draw_sites(axes: Any, result: FrameResult) -> list[Line2D]:
    table = result.sites
    flagged = result.where(Decision.FLAG)
    size = _marker_points(axes, result)
    handles = []
    for species in result.flag_counts():
        mine = np.array([i for i in flagged if result.species(int(i)) == species])
        colour, marker, spoken = ROLE_STYLE[result.role(int(mine[0]))]
        label = f"{species} ({spoken}): {len(mine)}"
        handles += axes.plot(
            table.x_px[mine], table.y_px[mine], marker, ms=size, mfc="none", mec=colour, mew=1.3, label=label
        )
    undecided = result.undecided()
    if len(undecided):
        colour, marker = _UNDECIDED
        handles += axes.plot(
            table.x_px[undecided], table.y_px[undecided], marker, ms=max(2.5, size / 3), color=colour, alpha=0.7,
            mew=0.8, label=f"undecided: {len(undecided)}",
        )  # fmt: skip
    return handles


def _marker_points(axes: Any, result: FrameResult) -> float:
    """Diameter of a marker in points: about the distance of neighbouring columns, but never lost."""
    box = axes.get_figure().get_size_inches()[0] * 72
    width = abs(axes.get_xlim()[1] - axes.get_xlim()[0])
    spacing_px = 1.8 / result.calibration.pixel_size_angstrom if result.calibration else 8.0
    return float(np.clip(spacing_px / width * box * 1.2, 4.0, 16.0))


def _draw_scale_bar(axes: Any, width: int, height: int, pixel_size_nm: float) -> None:
    wanted = width * pixel_size_nm / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    length_nm = power * max(step for step in (1, 2, 5) if step * power <= wanted)
    bar = length_nm / pixel_size_nm
    x, y, thick = 0.03 * width, 0.96 * height, 0.008 * height
    axes.add_patch(Rectangle((x, y), bar, thick, color="white", ec="black", lw=0.5))
    axes.text(
        x + bar / 2, y - thick, f"{length_nm:g} nm", color="white", ha="center", va="bottom", fontsize=9,
        bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "lw": 0},
    )  # fmt: skip
