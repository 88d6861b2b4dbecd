"""Drawing markers on Nion's drawing context: all rings of a colour as one path, then the labels over them.

Nion Swift draws in a thread of its own, but that thread and the scan share one interpreter; so few commands are given.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from nion.utils import Geometry

from nionswift_plugin.stemctx.overlay.markers import Marker

#: Of more flags the labels would hide the image, unless their rings are drawn at least so large (px).
MOST_LABELS: Final = 300
LARGE_RADIUS: Final = 9.0
_LEAST_RADIUS: Final = 5.0
_DIMMED: Final = 0.4
_FONT: Final = "bold 11px sans-serif"
_TEXT_HEIGHT: Final = 15.0
_TEXT_GAP: Final = 3.0
_BAR: Final = 3.0
_DARKER_THAN: Final = 0.45
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)

#: Widths of labels that were measured, by what measured them.
Widths = dict[tuple[type, str], float]


class _Placed(NamedTuple):
    """A marker in the coordinates of the widget."""

    marker: Marker
    y: float
    x: float
    radius: float


class _Ground(NamedTuple):
    """What a label stands on, in the coordinates of the widget."""

    left: float
    top: float
    width: float


def draw_markers(
    ctx: Any,
    ui_settings: Any,
    mapping: Any,
    drawn: tuple[Marker, ...],
    dimmed: bool,
    widths: Widths | None = None,
) -> None:
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
    widths
        Of labels that were drawn before; what is measured is added.
    """
    groups: defaultdict[tuple[float, str], list[_Placed]] = defaultdict(list)
    for marker in drawn:
        at = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(marker.y, marker.x))
        size = mapping.map_size_image_norm_to_widget(Geometry.FloatSize(marker.radius_y, marker.radius_x))
        radius = max(_LEAST_RADIUS, size.height, size.width)
        alpha = _DIMMED if dimmed or marker.older else 1.0
        groups[alpha, marker.colour].append(_Placed(marker, at.y, at.x, radius))
    first = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(0.0, 0.0)).x
    last = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(1.0, 1.0)).x
    with ctx.saver():
        for (alpha, colour), placed in groups.items():
            _draw_rings(ctx, placed, colour, alpha)
        if len(drawn) > MOST_LABELS and all(p[0].radius < LARGE_RADIUS for p in groups.values()):
            return
        ctx.font = _FONT
        ctx.text_align = "left"
        ctx.text_baseline = "middle"
        for (alpha, colour), placed in groups.items():
            known = {} if widths is None else widths
            grounds = [_ground(p, _width(ui_settings, p.marker.label, known), first, last) for p in placed]
            _draw_labels(ctx, placed, grounds, colour, alpha)


def _draw_rings(ctx: Any, placed: Sequence[_Placed], colour: str, alpha: float) -> None:
    ctx.begin_path()
    for _, y, x, radius in placed:
        ctx.move_to(x + radius, y)  # or the arc begins with a line from the ring before
        ctx.arc(x, y, radius, 0, 2 * math.pi)
    # A ring of the opposite brightness under the coloured one keeps it visible on any ground.
    halo = _WHITE if _brightness(colour) < _DARKER_THAN else _BLACK
    for line_width, style in ((3.75, _rgba(halo, 0.6 * alpha)), (1.75, _rgba(_rgb(colour), alpha))):
        ctx.line_width = line_width
        ctx.stroke_style = style
        ctx.stroke()


def _draw_labels(
    ctx: Any, placed: Sequence[_Placed], grounds: Sequence[_Ground], colour: str, alpha: float
) -> None:
    """Draw labels beside their rings, light on a dark ground, with a bar of the ring's colour next to the ring."""
    ctx.fill_style = _rgba(_BLACK, 0.55 * alpha)
    for left, top, width in grounds:  # by themselves: in one path, two that overlap would leave a hole
        ctx.begin_path()
        ctx.rect(left, top, width, _TEXT_HEIGHT)
        ctx.fill()
    ctx.begin_path()
    for p, (left, top, width) in zip(placed, grounds, strict=True):
        ctx.rect(left + width - _BAR if p.marker.side_x < 0 else left, top, _BAR, _TEXT_HEIGHT)
    ctx.fill_style = _rgba(_rgb(colour), alpha)
    ctx.fill()
    ctx.fill_style = _rgba(_WHITE, alpha)
    for p, (left, top, _) in zip(placed, grounds, strict=True):
        ctx.fill_text(p.marker.label, left + (3 if p.marker.side_x < 0 else 6), top + _TEXT_HEIGHT / 2)


def _ground(placed: _Placed, width: float, first: float, last: float) -> _Ground:
    """Where a label stands; one above or below its ring is kept between the edges of the image."""
    marker, y, x, radius = placed
    away = radius + _TEXT_GAP
    left = x - width / 2 + marker.side_x * (away + width / 2)
    if not marker.side_x:
        left = max(first, min(left, last - width))
    return _Ground(left, y - _TEXT_HEIGHT / 2 + marker.side_y * (away + _TEXT_HEIGHT / 2), width)


def _width(ui_settings: Any, label: str, widths: Widths) -> float:
    key = type(ui_settings), label
    if key not in widths:
        widths[key] = ui_settings.get_font_metrics(_FONT, label).width + 8
    return widths[key]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _rgba(rgb: tuple[int, int, int], alpha: float) -> str:
    return f"rgba({rgb[0]},{rgb[1]},{rgb[2]},{alpha:.2f})"


def _brightness(colour: str) -> float:
    """Perceived brightness, 0 to 1 (weights of ITU-R BT.601)."""
    red, green, blue = _rgb(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
