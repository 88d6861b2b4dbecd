"""The pictures of a validation: errors of all sites, and where columns stop to add up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemctx_core.look import colours
from stemctx_core.validation.against_reference import (
    DETECTORS,
    MAXIMUM_LIMIT_PERCENT,
    MEDIAN_LIMIT_PERCENT,
    SiteError,
)
from stemctx_core.validation.outcome import TIERS


def worst_of(limits: dict[str, Any]) -> np.ndarray:
    """(inner, width) largest error over hosts and energies; NaN where nothing was tried."""
    tables = np.array(list(limits["percent"].values()), dtype=float)
    worst: np.ndarray = np.where(
        np.isnan(tables).all(axis=0), np.nan, np.nan_to_num(tables, nan=-1).max(axis=0)
    )
    return worst


def draw_errors(errors: Sequence[SiteError], path: Path) -> None:
    """Error of each site against its signal, a row a tier and a column a detector."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    tiers = list(dict.fromkeys(e.tier for e in errors))
    axes = figure.subplots(len(tiers), len(DETECTORS), sharex=True, sharey=True, squeeze=False)
    for row, tier in zip(axes, tiers, strict=True):
        for axis, detector in zip(row, DETECTORS, strict=True):
            chosen = [e for e in errors if e.tier == tier and e.detector == detector]
            for defect, colour, label in ((False, "0.6", "host"), (True, colours.MISSED, "defect")):
                some = [e for e in chosen if e.is_defect is defect]
                axis.errorbar(
                    [e.signal_percent for e in some],
                    [e.error_percent for e in some],
                    [e.standard_error_percent for e in some],
                    fmt="o", ms=2.5, lw=0.5, color=colour, label=label,
                )  # fmt: skip
            for limit in (
                -MAXIMUM_LIMIT_PERCENT,
                -MEDIAN_LIMIT_PERCENT,
                MEDIAN_LIMIT_PERCENT,
                MAXIMUM_LIMIT_PERCENT,
            ):
                axis.axhline(limit, color="0.8", lw=0.8, zorder=0)
            axis.set_title(f"{TIERS[tier]}, {detector}", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("signal of the site, % of the host metal's", fontsize=9)
    figure.supylabel("error, % of the host metal's signal", fontsize=9)
    figure.savefig(path, dpi=110)


def draw_limits(limits: dict[str, Any], path: Path) -> None:
    """Error of superposition over inner angle and width of the detector."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    worst = worst_of(limits)
    shown = axis.imshow(worst, vmin=0, vmax=5, cmap="viridis_r", aspect="auto")
    for (i, j), value in np.ndenumerate(worst):
        if not np.isnan(value):
            axis.text(
                j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if value > 2.5 else "k"
            )
    axis.set_xticks(range(len(limits["width_mrad"])), [f"{w:g}" for w in limits["width_mrad"]])
    axis.set_yticks(range(len(limits["inner_mrad"])), [f"{v:g}" for v in limits["inner_mrad"]])
    axis.set_xlabel("width of the detector, mrad")
    axis.set_ylabel("inner angle, mrad")
    axis.set_title(
        f"error of superposition, % of the metal's signal (disc {limits['convergence_semi_angle_mrad']:g} mrad)",
        fontsize=9,
    )
    figure.colorbar(shown, ax=axis)
    figure.savefig(path, dpi=110)
