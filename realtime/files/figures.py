"""Pictures of a report, each a PNG: how sure every site is, and a small piece of the frame around a flag."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from stemctx_core.colours import SERIES
from stemctx_core.results import SUBLATTICES, Decision, FrameResult

_DPI: Final = 90
_TILE_PIXELS: Final = 96
_CONTRAST: Final = (0.5, 99.7)
_BINS: Final = 40
#: Of the two sublattices, metal and chalcogen.
_COLOURS: Final = (SERIES[0], SERIES[4])


def entropy_png(result: FrameResult, shape: tuple[int, int]) -> bytes:
    """Map of the posterior entropy of every site that was looked at, and how often each entropy is met."""
    table, entropy = result.sites, result.sites.entropy_nats
    at_border = np.setdiff1d(result.where(Decision.ABSTAIN), result.undecided())
    seen = np.ones(len(table), bool)
    seen[at_border] = False
    figure = Figure(figsize=(9.5, 4.0), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    dots = left.scatter(
        table.x_px[seen], table.y_px[seen], c=entropy[seen], s=3, cmap="viridis", vmin=0, linewidths=0
    )
    left.set(
        xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5), xticks=[], yticks=[], aspect="equal",
        title="Entropy of each site",
    )  # fmt: skip
    figure.colorbar(dots, ax=left, label="nats")
    most = max(float(entropy[seen].max()) if seen.any() else 0.0, 1e-3)
    for code, (sublattice, colour) in enumerate(zip(SUBLATTICES, _COLOURS, strict=True)):
        here = entropy[seen & (table.sublattice == code)]
        name = "metal" if sublattice.value == "M" else "chalcogen"
        mean = f"{here.mean():.3f}" if len(here) else "–"
        right.hist(
            here, np.linspace(0, most, _BINS), histtype="step", color=colour, lw=1.6, log=True,
            label=f"{name}, mean {mean} nats",
        )  # fmt: skip
    right.set(xlabel="entropy (nats)", ylabel="sites", title="How sure the sites are")
    right.legend(frameon=False, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()


class Thumbnails:
    """Cuts small squares out of a frame, all with the same grey levels.

    Parameters
    ----------
    image
        (height, width) intensities.
    side_px
        Of a square in the frame's pixels.
    """

    def __init__(self, image: NDArray[Any], side_px: float) -> None:
        finite = image[np.isfinite(image)]
        low, high = np.percentile(finite, _CONTRAST) if finite.size else (0.0, 1.0)
        self._image = image
        self._side_px = side_px
        self._low, self._high = float(low), float(max(high, low + 1e-6))

    def png(self, y_px: float, x_px: float) -> bytes:
        """The square around a point; darkest beyond the border."""
        steps = ((np.arange(_TILE_PIXELS) + 0.5) / _TILE_PIXELS - 0.5) * self._side_px
        rows, columns = (np.rint(c + steps).astype(int) for c in (y_px, x_px))
        height, width = self._image.shape
        inside = np.ix_((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
        piece = np.full((_TILE_PIXELS, _TILE_PIXELS), self._low, np.float32)
        clipped = np.ix_(np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))
        piece[inside] = self._image[clipped][inside]
        png = io.BytesIO()
        imsave(
            png, np.nan_to_num(piece, nan=self._low), cmap="gray", vmin=self._low, vmax=self._high, format="png"
        )
        return png.getvalue()
