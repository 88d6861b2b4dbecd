"""What is drawn for the flags of a result: rings in the colour of the role, and labels that keep out of the way."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from nion.utils import Geometry
from numpy.typing import NDArray

from nionswift_plugin.stemctx.passes import shown_flags
from nionswift_plugin.stemctx.shown import ShownRule
from stemctx_core import materials
from stemctx_core.colours import ROLE_COLOURS
from stemctx_core.decision import not_told_apart
from stemctx_core.results import FrameResult

_LEAST_RADIUS = 5.0
_DIMMED = 0.4
_FONT = "bold 11px sans-serif"
_TEXT_HEIGHT = 15.0
_TEXT_GAP = 3.0
#: Space that a label takes, in radii of a ring, when sides are chosen; where the image is shown larger, it takes less.
_LABEL_RADII = (3.2, 16.0)
_DARKER_THAN = 0.45
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
    sides = label_sides(y / radius_px, x / radius_px, width / radius_px)
    return tuple(
        Marker(
            # The centre of the first pixel is (0, 0) to us, half a pixel in to Nion.
            (float(y[n]) + 0.5) / height,
            (float(x[n]) + 0.5) / width,
            radius_px / height,
            radius_px / width,
            ROLE_COLOURS[flag.result.role(flag.site)],
            label(flag.result, flag.site),
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
    return f"{result.species(site)} {float(sites.posterior[site, sites.best[site]]):.2f}{doubt}"


def _radius_px(result: FrameResult) -> float:
    """Half the distance of neighbouring columns, so that rings touch and do not overlap."""
    if result.calibration is None:
        return 4.0
    host = materials.host(result.context.host)
    return 0.5 * host.a_angstrom / math.sqrt(3) / result.calibration.pixel_size_angstrom


def label_sides(y: NDArray[np.float64], x: NDArray[np.float64], width: float) -> list[tuple[int, int]]:
    """On which side of each ring its label covers the fewest rings and labels, and stays in the image.

    Parameters
    ----------
    y, x
        (n,) centres of the rings in radii.
    width
        Of the image in radii.
    """
    label_height, label_width = _LABEL_RADII
    offset_x, offset_y = 1.1 + label_width / 2, 1.1 + label_height / 2
    taken_y, taken_x = list(y), list(x)
    half_y, half_x = [1.0] * len(y), [1.0] * len(y)
    sides = []
    for n in range(len(y)):
        best: tuple[float, tuple[int, int], float, float] | None = None
        for side in ((0, 1), (0, -1), (-1, 0), (1, 0)):
            at_y, at_x = y[n] + side[0] * offset_y, x[n] + side[1] * offset_x
            covers = (np.abs(np.array(taken_y) - at_y) < np.array(half_y) + label_height / 2) & (
                np.abs(np.array(taken_x) - at_x) < np.array(half_x) + label_width / 2
            )
            covers[n] = False
            outside = at_x + label_width / 2 > width or at_x - label_width / 2 < 0
            cost = float(covers.sum()) + 2.0 * outside
            if best is None or cost < best[0]:
                best = cost, side, at_y, at_x
            if cost == 0:
                break
        assert best is not None
        sides.append(best[1])
        taken_y.append(best[2])
        taken_x.append(best[3])
        half_y.append(label_height / 2)
        half_x.append(label_width / 2)
    return sides


def draw_markers(ctx: Any, ui_settings: Any, mapping: Any, drawn: tuple[Marker, ...], dimmed: bool) -> None:
    """Draw rings and labels.

    Parameters
    ----------
    ctx, ui_settings
        Nion's drawing context, and what measures text.
    mapping
        Nion's mapping of image to widget coordinates.
    drawn
        What to draw.
    dimmed
        Whether they are all older than the image under them.
    """
    with ctx.saver():
        ctx.font = _FONT
        ctx.text_align = "left"
        ctx.text_baseline = "middle"
        for marker in drawn:
            alpha = _DIMMED if dimmed or marker.older else 1.0
            at = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(marker.y, marker.x))
            size = mapping.map_size_image_norm_to_widget(Geometry.FloatSize(marker.radius_y, marker.radius_x))
            radius = max(_LEAST_RADIUS, size.height, size.width)
            # A ring of the opposite brightness under the coloured one keeps it visible on any ground.
            halo = (255, 255, 255) if _brightness(marker.colour) < _DARKER_THAN else (0, 0, 0)
            for line_width, style in (
                (3.75, _rgba(halo, 0.6 * alpha)),
                (1.75, _rgba(_rgb(marker.colour), alpha)),
            ):
                ctx.begin_path()
                ctx.move_to(at.x + radius, at.y)  # or the arc begins with a line from the corner of the image
                ctx.arc(at.x, at.y, radius, 0, 2 * math.pi)
                ctx.line_width = line_width
                ctx.stroke_style = style
                ctx.stroke()
            _draw_label(ctx, ui_settings, marker, at, radius, alpha)


def _draw_label(ctx: Any, ui_settings: Any, marker: Marker, at: Any, radius: float, alpha: float) -> None:
    """Draw a label beside its ring, light on a dark ground, with a bar of the ring's colour next to the ring."""
    width = ui_settings.get_font_metrics(_FONT, marker.label).width + 8
    away = radius + _TEXT_GAP
    left = at.x - width / 2 + marker.side_x * (away + width / 2)
    top = at.y - _TEXT_HEIGHT / 2 + marker.side_y * (away + _TEXT_HEIGHT / 2)
    bar = 3.0
    bar_left = left + width - bar if marker.side_x < 0 else left
    for x, w, style in (
        (left, width, _rgba((0, 0, 0), 0.55 * alpha)),
        (bar_left, bar, _rgba(_rgb(marker.colour), alpha)),
    ):
        ctx.begin_path()
        ctx.rect(x, top, w, _TEXT_HEIGHT)
        ctx.fill_style = style
        ctx.fill()
    ctx.fill_style = _rgba((255, 255, 255), alpha)
    ctx.fill_text(marker.label, left + (3 if marker.side_x < 0 else 6), top + _TEXT_HEIGHT / 2)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _rgba(rgb: tuple[int, int, int], alpha: float) -> str:
    return f"rgba({rgb[0]},{rgb[1]},{rgb[2]},{alpha:.2f})"


def _brightness(colour: str) -> float:
    """Perceived brightness, 0 to 1 (weights of ITU-R BT.601)."""
    red, green, blue = _rgb(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
