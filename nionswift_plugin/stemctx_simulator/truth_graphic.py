"""The true defects on the live image: hollow squares.

Squares, because the flags are rings: what is true and was flagged is a ring in a square.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from nion.utils import Geometry

from nionswift_plugin.stemctx.overlay.one_graphic import Drawing, OneGraphic, Overlay
from sim.generator import GroundTruth
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colours import ROLE_COLOURS

GRAPHIC_ID: Final = "stemctx_truth"
#: No more are drawn: a window that draws many thousands stands still.
MOST_SQUARES: Final = 1000
_LEAST_HALF: Final = 7.0
#: Side of a square over the distance of neighbouring columns: a ring of a flag fits in.
_SIDE: Final = 1.25


class Square(NamedTuple):
    """A true defect: centre and half a side, as fractions of height and width, and its colour."""

    y: float
    x: float
    half_y: float
    half_x: float
    colour: str


def squares(truth: GroundTruth, host: str) -> tuple[Square, ...]:
    """One square for every true defect of a frame, up to `MOST_SQUARES`."""
    (height, width), defects = truth.shape, np.flatnonzero(truth.is_defect)[:MOST_SQUARES]
    half_px = (
        _SIDE * 0.5 * materials.host(host).a_angstrom / 3**0.5 / truth.pixel_size_angstrom
    )  # the distance is a/√3
    return tuple(
        # The centre of the first pixel is (0, 0) to us, half a pixel in to Nion.
        Square(
            (float(y) + 0.5) / height,
            (float(x) + 0.5) / width,
            half_px / height,
            half_px / width,
            ROLE_COLOURS[Role(role)],
        )
        for (y, x), role in zip(truth.positions_px[defects], truth.role[defects], strict=True)
    )


def draw_squares(ctx: Any, ui_settings: Any, mapping: Any, drawn: tuple[Square, ...]) -> None:
    """Draw hollow squares on Nion's drawing context."""
    with ctx.saver():
        for square in drawn:
            at = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(square.y, square.x))
            size = mapping.map_size_image_norm_to_widget(Geometry.FloatSize(square.half_y, square.half_x))
            half = max(_LEAST_HALF, size.height, size.width)
            for line_width, style in ((3.0, "rgba(0,0,0,0.60)"), (1.25, square.colour)):
                ctx.begin_path()
                ctx.rect(at.x - half, at.y - half, 2 * half, 2 * half)
                ctx.line_width = line_width
                ctx.stroke_style = style
                ctx.stroke()


class TruthGraphic(OneGraphic):
    """All true defects of a display."""

    TYPE = "stemctx-truth-graphic"
    TITLE = "True defects"
    ID = GRAPHIC_ID

    def __init__(self) -> None:
        super().__init__()
        self.drawn: tuple[Square, ...] = ()

    def show(self, drawn: tuple[Square, ...]) -> None:
        """Draw these from now on."""
        if drawn == self.drawn:
            return
        self.drawn = drawn
        self.draw_again()

    def drawing(self) -> Drawing:
        """What draws the squares as they are now."""
        return partial(draw_squares, drawn=self.drawn)


class TruthOverlay(Overlay[TruthGraphic]):
    """The true defects on the displays of live data items, of several channels at once; for the window's thread."""

    def __init__(self) -> None:
        super().__init__(TruthGraphic)

    def paint(
        self, document_models: Iterable[Any], scan_id: str, data_channel_id: str, drawn: tuple[Square, ...]
    ) -> int:
        """Show squares on every display of a live data item; return on how many."""
        painted = self.graphics(document_models, scan_id, data_channel_id)
        for graphic in painted.values():
            graphic.show(drawn)
        return len(painted)
