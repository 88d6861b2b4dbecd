"""Pictures of a report, each a PNG: the map of flags over the frames, and the map of dose."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from realtime.autonomy.microscope import ScanRequest
from realtime.autonomy.report.data import Flag, ReportData
from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colours import GRID, MISSED, ROLE_COLOURS, UNDECIDED
from stemctx_core.look.pictures import ROLE_STYLE
from stemctx_core.look.pieces import grey_levels

_DPI: Final = 160
_WIDTH_INCHES: Final = 8.6
_TALLEST_INCHES: Final = 11.0
#: Pixels that all frames under the map share, and of one frame at most.
_MOSAIC_PIXELS: Final = 1 << 22
_FRAME_PIXELS: Final = 360
_DOSE_CELLS: Final = 900


def map_png(data: ReportData, frames: Iterable[tuple[ScanRequest, NDArray[Any]]], count: int) -> bytes:
    """Draw the survey's flags over its frames.

    Parameters
    ----------
    frames
        Of the survey, in order; taken one at a time.
    count
        How many there are.
    """
    figure, axes = _figure((*data.survey, *data.looks))
    side = min(_FRAME_PIXELS, max(16, int(math.sqrt(_MOSAIC_PIXELS / max(1, count)))))
    for request, image in frames:
        _draw_frame(axes, request, _reduced(image, side))
    outlines = [e.intended.request.corners_nm[:, ::-1] for e in data.survey]
    axes.add_collection(
        PolyCollection(outlines, facecolors="none", edgecolors="white", linewidths=0.5, alpha=0.45, zorder=2)
    )
    looks = [e.intended.request.corners_nm[:, ::-1] for e in data.looks]
    axes.add_collection(
        PolyCollection(looks, facecolors="none", edgecolors=UNDECIDED, linewidths=0.8, zorder=3)
    )
    handles = _draw_flags(axes, data.flags)
    if looks:
        handles.append(_handle(UNDECIDED, "s", f"looked at again ({len(looks)})"))
    if data.rests:
        y, x = zip(*(e.intended.request.centre_nm for e in data.rests), strict=True)
        axes.plot(x, y, "+", color=MISSED, markersize=9, markeredgewidth=1.8, linestyle="none", zorder=5)
        handles.append(_handle(MISSED, "+", f"beam rested ({len(data.rests)})"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return _png(figure)


def dose_png(data: ReportData) -> bytes:
    """Draw how much every place got, all exposures together."""
    figure, axes = _figure(data.exposures, beside=0.17)
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    step = max((x1 - x0), (y1 - y0)) / _DOSE_CELLS
    x = np.arange(x0 + step / 2, x1, step)
    y = np.arange(y0 + step / 2, y1, step)
    # Drawn from the fields themselves, which have sharper borders than the raster that the limits are held on.
    total = np.zeros((len(y), len(x)))
    for exposure in data.exposures:
        _add_field(total, y, x, exposure.intended.request, exposure.intended.dose_e_per_angstrom2)
    scale = 1000 if total.max() >= 1e4 else 1
    shown = np.ma.masked_less_equal(total / scale, 0)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (1.0, 10.0)
    norm = LogNorm(low, max(high, low * 1.001)) if high > 30 * low else None
    limits = {} if norm else {"vmin": 0, "vmax": high}
    drawn = axes.imshow(
        shown, extent=(x0, x1, y1, y0), cmap="cividis", norm=norm, interpolation="nearest", **limits
    )
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30)
    bar.set_label("dose (e/Å²)" if scale == 1 else "dose (10³ e/Å²)")
    return _png(figure)


def _figure(exposures: Sequence[Any], beside: float = 0.0) -> tuple[Figure, Any]:
    corners = np.concatenate([e.intended.request.corners_nm for e in exposures])
    (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0)
    margin = 0.015 * max(y1 - y0, x1 - x0)
    height = min(_TALLEST_INCHES, max(2.5, _WIDTH_INCHES * (0.92 - beside) * (y1 - y0) / (x1 - x0) + 0.9))
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(
        xlim=(x0 - margin, x1 + margin), ylim=(y1 + margin, y0 - margin), aspect="equal",
        xlabel="x (nm)", ylabel="y (nm)", facecolor=GRID,
    )  # fmt: skip
    axes.tick_params(labelsize=9)
    return figure, axes


def _draw_frame(axes: Any, request: ScanRequest, image: NDArray[np.float32]) -> None:
    low, high = grey_levels(image)
    height, width = (s / 2 for s in request.extent_nm)
    drawn = axes.imshow(
        image, cmap="gray", vmin=low, vmax=high + 0.6 * (high - low), extent=(-width, width, height, -height),
        interpolation="nearest", zorder=1, aspect="equal",
    )  # fmt: skip
    # An offset (y, x) in the image lies at (y cos r + x sin r, x cos r - y sin r) in scan coordinates.
    c, s = math.cos(request.rotation_rad), math.sin(request.rotation_rad)
    y, x = request.centre_nm
    drawn.set_transform(Affine2D(np.array([[c, -s, x], [s, c, y], [0, 0, 1]])) + axes.transData)


def _draw_flags(axes: Any, flags: Sequence[Flag]) -> list[Line2D]:
    size = float(np.clip(260 / math.sqrt(len(flags) + 1) / 4, 3.0, 9.0))
    handles = []
    species = sorted({f.species for f in flags}, key=lambda s: -sum(f.species == s for f in flags))
    for name in species:
        mine = [f for f in flags if f.species == name]
        colour, marker, words = _style(mine[0].role)
        axes.plot(
            [f.x_nm for f in mine], [f.y_nm for f in mine], marker, color=colour, markersize=size,
            markerfacecolor="none", markeredgewidth=1.3, linestyle="none", zorder=4,
        )  # fmt: skip
        handles.append(_handle(colour, marker, f"{name}, {words} ({len(mine)})"))
    return handles


def _style(role: Role) -> tuple[str, str, str]:
    colour, marker, words = ROLE_STYLE.get(role, (ROLE_COLOURS[role], ".", role.value))
    return colour, marker, words


def _handle(colour: str, marker: str, label: str) -> Line2D:
    return Line2D(
        [], [], marker=marker, color=colour, markerfacecolor="none", markeredgewidth=1.6, linestyle="none", label=label
    )  # fmt: skip


def _reduced(image: NDArray[Any], side: int) -> NDArray[np.float32]:
    """The frame in fewer pixels, each the mean of those it stands for."""
    step = max(1, math.ceil(max(image.shape) / side))
    height, width = (max(1, s // step) for s in image.shape)
    whole = image[: height * step, : width * step].astype(np.float32)
    if whole.shape != (height * step, width * step):
        return image.astype(np.float32)
    reduced: NDArray[np.float32] = whole.reshape(height, step, width, step).mean(axis=(1, 3))
    return reduced


def _add_field(total: NDArray[np.float64], y: Any, x: Any, request: ScanRequest, dose: float) -> None:
    c, s = math.cos(request.rotation_rad), math.sin(request.rotation_rad)
    half_y, half_x = (e / 2 for e in request.extent_nm)
    reach = math.hypot(half_y, half_x)
    rows = np.flatnonzero(np.abs(y - request.centre_nm[0]) <= reach)
    columns = np.flatnonzero(np.abs(x - request.centre_nm[1]) <= reach)
    if not len(rows) or not len(columns):
        return
    dy, dx = np.meshgrid(y[rows] - request.centre_nm[0], x[columns] - request.centre_nm[1], indexing="ij")
    inside = (np.abs(dy * c - dx * s) <= half_y) & (np.abs(dx * c + dy * s) <= half_x)
    total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += inside * dose


def _png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()
