"""What is to be drawn for the flags of a result: rings in the colour of the role, and labels beside them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nionswift_plugin.stemctx.overlay.label_sides import label_sides
from nionswift_plugin.stemctx.service.passes import shown_flags
from nionswift_plugin.stemctx.service.shown import ShownRule
from stemctx_core.chemistry import materials
from stemctx_core.judging.decision import not_told_apart
from stemctx_core.look import formats
from stemctx_core.look.colours import ROLE_COLOURS
from stemctx_core.results import FrameResult

EVERY_FLAG = ShownRule()


class Marker(NamedTuple):
    """A ring with a label.

    Attributes
    ----------
    y, x
        Centre as a fraction of the image's height and width.
    radius_y, radius_x
        Radius as a fraction of the image's height and width.
    colour
        As ``#rrggbb``.
    label
        Species and probability, and with what it may be mistaken.
    side_y, side_x
        Where the label stands: (0, 1) is right of the ring, (0, -1) left, (-1, 0) above, (1, 0) below.
    older
        Whether it is of the pass before, and drawn fainter.
    """

    y: float
    x: float
    radius_y: float
    radius_x: float
    colour: str
    label: str
    side_y: int = 0
    side_x: int = 1
    older: bool = False


def markers(
    result: FrameResult, rule: ShownRule = EVERY_FLAG, before: FrameResult | None = None
) -> tuple[Marker, ...]:
    """One marker for every flag on the screen.

    Parameters
    ----------
    result
        Of the newest rows.
    rule
        Which flags are shown.
    before
        Of the whole frame before it in the same field; its flags are drawn where the beam has not come yet.
    """
    height, width = result.frame.shape
    flags = shown_flags(result, before, rule)
    radius_px = _radius_px(result if result.calibration is not None or before is None else before)
    y = np.array([f.result.sites.y_px[f.site] for f in flags], float)
    x = np.array([f.result.sites.x_px[f.site] for f in flags], float)
    labels = [label(f.result, f.site) for f in flags]
    sides = label_sides(y / radius_px, x / radius_px, labels, width / radius_px)
    return tuple(
        Marker(
            # The centre of the first pixel is (0, 0) to us, half a pixel in to Nion.
            (float(y[n]) + 0.5) / height,
            (float(x[n]) + 0.5) / width,
            radius_px / height,
            radius_px / width,
            ROLE_COLOURS[flag.result.role(flag.site)],
            labels[n],
            *sides[n],
            older=flag.older,
        )
        for n, flag in enumerate(flags)
    )


def label(result: FrameResult, site: int) -> str:
    """Species and probability, and what else it may be where that cannot be told."""
    sites = result.sites
    named = not_told_apart(result.reasons[int(sites.reason[site])])
    others = [species for species in named if species != result.species(site)]
    doubt = f" or {others[0]}{' …' if len(others) > 1 else ''}" if others else ""
    probability = formats.probability(float(sites.posterior[site, sites.best[site]]))
    return f"{result.species(site)} {probability}{doubt}"


def _radius_px(result: FrameResult) -> float:
    """Half the distance of neighbouring columns, so that rings touch and do not overlap."""
    if result.calibration is None:
        return 4.0
    host = materials.host(result.context.host)
    return 0.5 * host.a_angstrom / math.sqrt(3) / result.calibration.pixel_size_angstrom
