"""The true defects on the live image: hollow squares, all drawn by one graphic.

Squares, because the flags are rings: what is true and was flagged is a ring in a square. One graphic, because many
take longer than a frame; see `nionswift_plugin.stemctx.overlay`, which is built the same way.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from nion.swift.model import Graphics
from nion.utils import DateTime, Geometry

from sim.generator import GroundTruth
from stemctx_core import materials
from stemctx_core.classes import Role
from stemctx_core.colours import ROLE_COLOURS

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


def draw_squares(ctx: Any, mapping: Any, drawn: tuple[Square, ...]) -> None:
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


class TruthGraphic(Graphics.Graphic):  # type: ignore[misc]  # nion is untyped here
    """All true defects of a display; takes no mouse clicks, and is saved without its squares."""

    CAN_REPOSITION = False
    CAN_RESHAPE = False
    CAN_ROTATE = False

    def __init__(self) -> None:
        super().__init__("stemctx-truth-graphic")
        self.title = "True defects"
        self.graphic_id = GRAPHIC_ID
        self.drawn: tuple[Square, ...] = ()

    def show(self, drawn: tuple[Square, ...]) -> None:
        """Draw these from now on."""
        if drawn == self.drawn:
            return
        self.drawn = drawn
        # Drawn again only when the modification count has changed; the public way writes to the project every time.
        self._PersistentObject__update_modified(DateTime.utcnow())
        self.notify_property_changed("drawn")

    def get_attributes(self) -> set[Any]:
        """That it belongs on images."""
        return {Graphics.GraphicAttributeEnum.TWO_DIMENSIONAL}

    def test(self, mapping: Any, ui_settings: Any, p: Any, move_only: bool) -> tuple[str | None, bool]:
        """That nothing of it is ever under the mouse."""
        return None, False

    def begin_drag(self) -> tuple[Any, ...]:
        """That there is nothing to drag."""
        return ()

    def _draw(self, ctx: Any, ui_settings: Any, mapping: Any, is_selected: bool, is_focused: bool) -> None:
        """Draw, as Nion Swift up to 16.17 asks for it."""
        draw_squares(ctx, mapping, self.drawn)

    def get_renderer(self) -> Any:
        """Snapshot that Nion Swift from 16.18 on draws."""
        return _renderer_class()(self)


_RENDERER: Any = None


def _renderer_class() -> Any:
    """Class of the snapshot; made late, because its base does not exist before Nion Swift 16.18."""
    global _RENDERER
    if _RENDERER is None:

        class TruthRenderer(Graphics.GraphicRenderer):  # type: ignore[misc]
            def __init__(self, graphic: TruthGraphic) -> None:
                super().__init__(graphic)
                self._drawn = graphic.drawn

            def draw(
                self, ctx: Any, ui_settings: Any, mapping: Any, is_selected: bool, is_focused: bool
            ) -> None:
                draw_squares(ctx, mapping, self._drawn)

            def label_position(self, mapping: Any, font_metrics: Any, padding: float) -> Any:
                return None

        _RENDERER = TruthRenderer
    return _RENDERER


class TruthOverlay:
    """Puts the graphic on the displays of live data items and takes it off; only for the window's thread."""

    def __init__(self) -> None:
        self._displays: weakref.WeakSet[Any] = weakref.WeakSet()

    def paint(
        self, document_models: Iterable[Any], scan_id: str, data_channel_id: str, drawn: tuple[Square, ...]
    ) -> int:
        """Show squares on every display of a live data item; return on how many."""
        painted = 0
        for document_model in document_models:
            data_item = document_model.get_data_item_channel_reference(scan_id, data_channel_id).data_item
            if data_item is None or data_item._closed:
                continue
            for display_item in document_model.get_display_items_for_data_item(data_item):
                graphic = _graphic_of(display_item)
                if graphic is not None and not isinstance(graphic, TruthGraphic):
                    display_item.remove_graphic(graphic).close()  # of a project that was opened again
                    graphic = None
                if graphic is None:
                    graphic = TruthGraphic()
                    display_item.add_graphic(graphic)
                graphic.show(drawn)
                self._displays.add(display_item)
                painted += 1
        return painted

    def clear(self) -> None:
        """Take every square off."""
        for display_item in set(self._displays):
            self._displays.discard(display_item)
            graphic = None if display_item._closed else _graphic_of(display_item)
            if graphic is not None:
                # The log could undo the removal; nobody will, and an open one counts as a leak.
                display_item.remove_graphic(graphic).close()


def _graphic_of(display_item: Any) -> Any:
    return next((g for g in display_item.graphics if g.graphic_id == GRAPHIC_ID), None)
