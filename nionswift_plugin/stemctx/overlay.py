"""The flags on the live image: one graphic that draws them all.

One graphic and not one a flag, because every change of a graphic's property goes through the whole display: a
hundred of them take longer than a frame, one takes a millisecond. It is drawn from a tuple that is never changed,
because Nion Swift draws in a thread of its own. Everything here but drawing belongs to the window's thread.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from nion.swift.model import Graphics
from nion.utils import DateTime, Geometry

from nionswift_plugin.stemctx.status import FrameOrigin
from stemctx_core import materials
from stemctx_core.colours import ROLE_COLOURS
from stemctx_core.results import Decision, FrameResult

GRAPHIC_ID: Final = "stemctx_flags"

_LEAST_RADIUS = 5.0
_DIMMED = 0.4
_FONT = "bold 11px sans-serif"
_SHADOW = "rgba(0,0,0,{alpha:.2f})"


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
        Species and probability.
    """

    y: float
    x: float
    radius_y: float
    radius_x: float
    colour: str
    label: str


def markers(result: FrameResult) -> tuple[Marker, ...]:
    """One marker for every flag of a result."""
    height, width = result.frame.shape
    radius_px = 4.0
    if result.calibration is not None:
        host = materials.host(result.context.host)
        # Half the distance of neighbouring columns, so that rings touch and do not overlap.
        radius_px = 0.5 * host.a_angstrom / math.sqrt(3) / result.calibration.pixel_size_angstrom
    sites, probability = result.sites, result.sites.probability
    return tuple(
        Marker(
            # The centre of the first pixel is (0, 0) to us, half a pixel in to Nion.
            (float(sites.y_px[i]) + 0.5) / height,
            (float(sites.x_px[i]) + 0.5) / width,
            radius_px / height,
            radius_px / width,
            ROLE_COLOURS[result.role(int(i))],
            f"{result.species(int(i))} {float(probability[i]):.2f}",
        )
        for i in result.where(Decision.FLAG)
    )


def draw_markers(ctx: Any, mapping: Any, drawn: tuple[Marker, ...], dimmed: bool) -> None:
    """Draw rings and labels.

    Parameters
    ----------
    ctx
        Nion's drawing context.
    mapping
        Nion's mapping of image to widget coordinates.
    drawn
        What to draw.
    dimmed
        Whether they are older than the image under them.
    """
    alpha = _DIMMED if dimmed else 1.0
    shadow = _SHADOW.format(alpha=0.75 * alpha)
    with ctx.saver():
        ctx.font = _FONT
        ctx.text_align = "left"
        ctx.text_baseline = "middle"
        for marker in drawn:
            at = mapping.map_point_image_norm_to_widget(Geometry.FloatPoint(marker.y, marker.x))
            size = mapping.map_size_image_norm_to_widget(Geometry.FloatSize(marker.radius_y, marker.radius_x))
            radius = max(_LEAST_RADIUS, size.height, size.width)
            colour = _with_alpha(marker.colour, alpha)
            # A dark ring under the coloured one keeps it visible on bright columns.
            for line_width, style in ((3.5, shadow), (1.75, colour)):
                ctx.begin_path()
                ctx.move_to(at.x + radius, at.y)  # or the arc begins with a line from the corner of the image
                ctx.arc(at.x, at.y, radius, 0, 2 * math.pi)
                ctx.line_width = line_width
                ctx.stroke_style = style
                ctx.stroke()
            text_x = at.x + radius + 3
            for offset, style in ((1.0, shadow), (0.0, colour)):
                ctx.fill_style = style
                ctx.fill_text(marker.label, text_x + offset, at.y + offset)


class FlagsGraphic(Graphics.Graphic):  # type: ignore[misc]  # nion is untyped here
    """All flags of a display, as one graphic that takes no mouse clicks.

    Nion Swift saves it with the project as it saves every graphic, but without its flags; where the project is
    opened again it comes back as a missing graphic, which is not drawn and which `FlagsOverlay` replaces.
    """

    CAN_REPOSITION = False
    CAN_RESHAPE = False
    CAN_ROTATE = False

    def __init__(self) -> None:
        super().__init__("stemctx-flags-graphic")
        self.title = "Defect flags"
        self.graphic_id = GRAPHIC_ID
        self.drawn: tuple[Marker, ...] = ()
        self.dimmed = False

    def show(self, drawn: tuple[Marker, ...], dimmed: bool) -> None:
        """Draw these from now on."""
        if drawn == self.drawn and dimmed == self.dimmed:
            return
        self.drawn, self.dimmed = drawn, dimmed
        # A graphic is drawn again only when its modification count has changed. Raising the count alone is private
        # to Nion's base class; the public way, changing a saved property, would write to the project every frame.
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
        draw_markers(ctx, mapping, self.drawn, self.dimmed)

    def get_renderer(self) -> Any:
        """Snapshot that Nion Swift from 16.18 on draws."""
        return _renderer_class()(self)


def _renderer_class() -> Any:
    """Class of the snapshot; made late, because its base does not exist before Nion Swift 16.18."""
    global _RENDERER
    if _RENDERER is None:

        class FlagsRenderer(Graphics.GraphicRenderer):  # type: ignore[misc]
            def __init__(self, graphic: FlagsGraphic) -> None:
                super().__init__(graphic)
                self._drawn, self._dimmed = graphic.drawn, graphic.dimmed

            def draw(
                self, ctx: Any, ui_settings: Any, mapping: Any, is_selected: bool, is_focused: bool
            ) -> None:
                draw_markers(ctx, mapping, self._drawn, self._dimmed)

            def label_position(self, mapping: Any, font_metrics: Any, padding: float) -> Any:
                return None

        _RENDERER = FlagsRenderer
    return _RENDERER


_RENDERER: Any = None


class FlagsOverlay:
    """Puts the graphic on the displays of a live data item, and takes it off again."""

    def __init__(self) -> None:
        self._displays: weakref.WeakSet[Any] = weakref.WeakSet()

    def paint(self, document_models: Iterable[Any], origin: FrameOrigin, drawn: tuple[Marker, ...]) -> int:
        """Show flags on every display of the live data item; return on how many.

        None, where the data item has not been made yet or was deleted.
        """
        painted: set[Any] = set()
        for document_model in document_models:
            reference = document_model.get_data_item_channel_reference(
                origin.hardware_source_id, origin.data_channel_id
            )
            data_item = reference.data_item
            if data_item is None or data_item._closed:
                continue
            for display_item in document_model.get_display_items_for_data_item(data_item):
                graphic = _graphic_of(display_item)
                if not isinstance(graphic, FlagsGraphic):
                    if graphic is not None:
                        _remove(display_item, graphic)
                    graphic = FlagsGraphic()
                    display_item.add_graphic(graphic)
                graphic.show(drawn, False)
                painted.add(display_item)
        for display_item in set(self._displays) - painted:
            self._take_off(display_item)
        self._displays.update(painted)
        return len(painted)

    def dim(self) -> None:
        """Show that the flags are older than the image under them."""
        for display_item in set(self._displays):
            graphic = None if display_item._closed else _graphic_of(display_item)
            if isinstance(graphic, FlagsGraphic):
                graphic.show(graphic.drawn, True)

    def clear(self) -> None:
        """Take every flag off."""
        for display_item in set(self._displays):
            self._take_off(display_item)

    def _take_off(self, display_item: Any) -> None:
        self._displays.discard(display_item)
        if not display_item._closed:
            graphic = _graphic_of(display_item)
            if graphic is not None:
                _remove(display_item, graphic)


def _graphic_of(display_item: Any) -> Any:
    return next((g for g in display_item.graphics if g.graphic_id == GRAPHIC_ID), None)


def _remove(display_item: Any, graphic: Any) -> None:
    # The log could undo the removal; nobody will, and an open one counts as a leak.
    display_item.remove_graphic(graphic).close()


def _with_alpha(colour: str, alpha: float) -> str:
    if alpha >= 1.0:
        return colour
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.2f})"
