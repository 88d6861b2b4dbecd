"""Pictures of a comparison (PNG)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemctx_core.comparing.comparison import Comparison
from stemctx_core.comparing.views import COLUMN, CONTRAST, FREQUENCIES, FrameView
from stemctx_core.look import plots

_SIDE_ANGSTROM = 60.0


def _each(found: Comparison) -> list[tuple[str, FrameView, str]]:
    listed = [
        ("measured", found.measured, plots.BAYES),
        ("simulated", found.simulated, plots.UNKNOWN),
    ]
    return listed + ([("fitted", found.fitted.view, plots.SCORER)] if found.fitted else [])


def _density(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    total = counts.sum(axis=0)
    density: NDArray[np.float64] = total / total.sum() / np.diff(edges)
    return density


def frames(found: Comparison) -> bytes:
    """Pieces of the frames, at one scale of contrast."""
    each = _each(found)
    figure, axes = plots.new(1, len(each), 3.4)
    for ax, (name, view, _) in zip(axes[0], each, strict=True):
        lattice = view.lattice
        side = int(_SIDE_ANGSTROM / lattice.grid.pixel_size_angstrom)
        shown = (lattice.image - lattice.calibration.background) / lattice.unit
        middle = [max(0, (n - side) // 2) for n in shown.shape]
        piece = shown[middle[0] : middle[0] + side, middle[1] : middle[1] + side]
        ax.imshow(piece, cmap="gray", vmin=-0.1, vmax=1.3, interpolation="nearest")
        ax.set_axis_off()
        plots.label(ax, name)
    return plots.png(figure)


def histograms(found: Comparison) -> bytes:
    """Contrast of the pixels, and amplitudes of the columns of either sublattice."""
    figure, axes = plots.new(1, 3, 3.4)
    for name, view, colour in _each(found):
        middle = (CONTRAST[1:] + CONTRAST[:-1]) / 2
        axes[0, 0].plot(middle, _density(view.contrast, CONTRAST), color=colour, label=name, lw=1.4)
        middle = (COLUMN[1:] + COLUMN[:-1]) / 2
        for code in (0, 1):
            axes[0, 1 + code].plot(
                middle, _density(view.columns(code), COLUMN), color=colour, label=name, lw=1.4
            )
    host = found.measured.lattice.host
    plots.label(axes[0, 0], "Pixels", "from the mean (brighter column)", "density")
    plots.label(axes[0, 1], f"{host.metal} columns", "over the metal")
    plots.label(axes[0, 2], f"{host.chalcogen}2 columns", "over the metal")
    plots.legend_below(figure, axes.flat)
    return plots.png(figure)


def spectra(found: Comparison) -> bytes:
    """Power of what the mean cell leaves, along the fast and the slow axis."""
    figure, axes = plots.new(1, 2, 3.4, sharey=True)
    middle = (FREQUENCIES[1:] + FREQUENCIES[:-1]) / 2
    bands = len(middle)
    for name, view, colour in _each(found):
        power = view.power.mean(axis=0)
        for k, ax in enumerate(axes[0]):
            ax.plot(middle, power[k * bands : (k + 1) * bands], color=colour, label=name, lw=1.4)
    for ax, axis in zip(axes[0], ("fast", "slow"), strict=True):
        plots.logarithmic(ax)
        plots.label(
            ax,
            f"Noise along the {axis} axis",
            "spatial frequency (1/Å)",
            "power (column² Å²)" if axis == "fast" else "",
        )
    plots.legend_below(figure, axes.flat)
    return plots.png(figure)


def cells(found: Comparison) -> bytes:
    """Mean unit cells, and what the fitted one's lacks, in units of the brighter host column."""
    each = _each(found)
    figure, axes = plots.new(1, len(each), 3.0)
    for ax, (name, view, _) in zip(axes[0], each, strict=True):
        shown: Any = ax.imshow(view.left.cell, cmap="gray", vmin=-0.5, vmax=0.9, origin="lower")
        ax.set_axis_off()
        plots.label(ax, f"{name}: mean cell")
    figure.colorbar(shown, ax=axes[0], shrink=0.8)
    return plots.png(figure)
