"""The offers as a page: tiles, the map of the ridge, and the lines to use them by."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemctx_core.estimating.offers import LEVEL, Offers
from stemctx_core.estimating.ridge import NINETY
from stemctx_core.estimating.told import offered, ridge_words, toml_lines
from stemctx_core.look import plots
from stemctx_core.look.report_page import Html, join, page, picture, table, tag, tile


def ridge_map(found: Offers) -> bytes:
    """Picture (PNG) of X2/M under each pair of angles, the ridge outlined."""
    ridge = found.ridge
    figure, axes = plots.new(1, 1, 4.6)
    ax: Any = axes[0, 0]
    shown = ax.pcolormesh(ridge.outer_mrad, ridge.inner_mrad, ridge.ratio, cmap="cividis", shading="nearest")
    away = np.abs(ridge.away)
    if np.isfinite(away).any() and (away[np.isfinite(away)] < NINETY).any():
        ax.contour(
            ridge.outer_mrad,
            ridge.inner_mrad,
            np.where(np.isnan(away), 99, away),
            [NINETY],
            colors=plots.UNKNOWN,
        )
    if found.angles_mrad is not None:
        ax.plot(
            found.angles_mrad[1], found.angles_mrad[0], "o", color=plots.UNKNOWN, label="offered: one that fits"
        )
        ax.legend(fontsize=9, loc="upper right")
    figure.colorbar(shown, ax=ax, label="simulated X2/M")
    plots.label(
        ax,
        f"Angles that give X2/M = {ridge.measured:.2f} ({LEVEL:.0%})",
        "outer angle (mrad)",
        "inner angle (mrad)",
    )
    return plots.png(figure)


def offer_page(found: Offers, name: str) -> str:
    """The whole page (HTML)."""
    told = [
        ("pixel size", found.pixel_size_angstrom, "Å", 4),
        ("X2/M of the host", found.ratio, "", 3),
        ("effective source", found.sigma_angstrom, "Å", 3),
        ("dose", found.dose_e_per_angstrom2, "e/Å²", 0),
    ]
    tiles = [
        tile(f"{o.value:.{d}f}", unit, f"{label}, {o.low:.{d}f} to {o.high:.{d}f}")
        for label, o, unit, d in told
    ]
    objections = [tag("p", words, class_="told") for words in found.objections]
    head = tag(
        "header",
        tag("h1", f"What {name} says of its own context"),
        tag(
            "p",
            f"{found.lattice.host.name}, {len(found.lattice.features)} columns; intervals of {LEVEL:.0%} by "
            f"{found.rehearsals} simulated frames like this one. Offered, not taken: the analysis uses what it is told.",
            class_="soft",
        ),
    )
    body = [
        head,
        tag("div", join(tiles), class_="tiles"),
        *objections,
        tag("h2", "Detector angles"),
        tag(
            "p",
            "Inner and outer angle cannot be told from a frame. What can is the ratio of the host's columns, X2/M, and "
            "every pair of angles on the outlined ridge gives it. The simulated ratio is taken to be known to 5 %.",
        ),
        tag("figure", picture(ridge_map(found), "map of X2/M over inner and outer angle"), class_="wide"),
        tag("p", ridge_words(found), class_="caption"),
        tag("h2", "To use them"),
        tag("pre", toml_lines(found)),
        table(["name", "value>"], [(k, f"{v:g}") for k, v in offered(found).items()]),
    ]
    return page(f"Context of {name}", [Html(b) for b in body])
