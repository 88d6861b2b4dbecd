"""The flags on the live image: one graphic that draws them all.

One graphic and not one a flag, because every change of a graphic's property goes through the whole display: a
hundred of them take longer than a frame, one takes a millisecond. It is drawn from a tuple that is never changed,
because Nion Swift draws in a thread of its own. Everything here but drawing belongs to the window's thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final

from nion.swift.model import Graphics
from nion.utils import DateTime

from nionswift_plugin.stemctx.markers import Marker, draw_markers
from nionswift_plugin.stemctx.status import FrameOrigin

GRAPHIC_ID: Final = "stemctx_flags"


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
        draw_markers(ctx, ui_settings, mapping, self.drawn, self.dimmed)

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
                draw_markers(ctx, ui_settings, mapping, self._drawn, self._dimmed)

            def label_position(self, mapping: Any, font_metrics: Any, padding: float) -> Any:
                return None

        _RENDERER = FlagsRenderer
    return _RENDERER


_RENDERER: Any = None


class FlagsOverlay:
    """Puts the graphic on the displays of a live data item, and takes it off again."""

    def __init__(self) -> None:
        self._displays: weakref.WeakSet[Any] = weakref.WeakSet()

    def paint(
        self,
        document_models: Iterable[Any],
        origin: FrameOrigin,
        drawn: tuple[Marker, ...],
        dimmed: bool = False,
    ) -> int:
        """Show flags on every display of the live data item, dimmed where they are older; return on how many.

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
                graphic.show(drawn, dimmed)
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
