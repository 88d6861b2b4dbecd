"""The picture of how sure every site of a frame is, for a report."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stemctx_core.look.colours import SERIES
from stemctx_core.results import SUBLATTICES, Decision, FrameResult

_DPI: Final = 90
_BINS: Final = 40
#: Entropy of two candidates that are equally probable: the scale of every map, so that images can be compared.
_UNSURE_NATS: Final = float(np.log(2))
_MAP_INCHES: Final = 3.2
#: Distance of neighbouring columns of every host, about.
_SPACING_ANGSTROM: Final = 1.8
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
        table.x_px[seen], table.y_px[seen], c=entropy[seen], s=_dot_points(result, shape) ** 2, cmap="viridis",
        vmin=0, vmax=_UNSURE_NATS, linewidths=0,
    )  # fmt: skip
    left.set(
        xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5), xticks=[], yticks=[], aspect="equal",
        title="Entropy of each site",
    )  # fmt: skip
    figure.colorbar(dots, ax=left, label="entropy (nats)", extend="max")
    most = max(float(entropy[seen].max()) if seen.any() else 0.0, _UNSURE_NATS)
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


def _dot_points(result: FrameResult, shape: tuple[int, int]) -> float:
    """Diameter of a dot: two thirds of the distance of neighbouring columns, but seen in a large field too."""
    pixel = result.calibration.pixel_size_angstrom if result.calibration else 0.0
    spacing_points = _SPACING_ANGSTROM / pixel / max(shape) * _MAP_INCHES * 72 if pixel else 0.0
    return float(np.clip(0.66 * spacing_points, 1.7, 8.0))
