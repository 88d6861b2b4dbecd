"""Many marks on an image, drawn by one graphic; and that graphic on the displays of the live image.

One graphic and not one a mark, because every change of a graphic's property goes through the whole display: a hundred
of them take longer than a frame, one takes a millisecond. It draws what `drawing` gave, which never changes, because
Nion Swift draws in a thread of its own. Everything here but drawing belongs to the window's thread.
"""

from __future__ import annotations

import dataclasses
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from nion.swift.model import Graphics
from nion.utils import DateTime

#: Draws on Nion's drawing context: context, settings of the window, mapping from the image to the widget.
Drawing = Callable[[Any, Any, Any], None]
G = TypeVar("G", bound="OneGraphic")


class OneGraphic(Graphics.Graphic, ABC):  # type: ignore[misc]  # nion is untyped here
    """All marks of a kind on a display, as one graphic that takes no mouse clicks.

    Nion Swift saves it with the project as it saves every graphic, but without its marks; where the project is
    opened again it comes back as a missing graphic, which is not drawn and which `put_on` replaces.
    """

    CAN_REPOSITION = False
    CAN_RESHAPE = False
    CAN_ROTATE = False
    TYPE: ClassVar[str]
    TITLE: ClassVar[str]
    ID: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(self.TYPE)
        self.title = self.TITLE
        self.graphic_id = self.ID

    @abstractmethod
    def drawing(self) -> Drawing:
        """What draws the marks as they are now, whatever becomes of them."""

    def draw_again(self) -> None:
        """Have what has changed drawn."""
        # A graphic is drawn again only when its modification count has changed. Raising the count alone is private
        # to Nion's base class; the public way, changing a saved property, would write to the project every frame.
        self._PersistentObject__update_modified(DateTime.utcnow())
        stream = getattr(self.container, "display_data_delta_stream", None)
        if stream is None or stream.value is None:
            self.notify_property_changed("drawn")
            return
        # Up to Nion Swift 16.17 a display works out all its calibrations anew when a graphic tells of a change, which
        # copies the metadata of the frame eight times. Only the graphics changed, so what it has is sent again.
        names = [f.name for f in dataclasses.fields(stream.value) if f.name.endswith("_changed")]
        stream.send_value(
            dataclasses.replace(stream.value, **{name: name == "graphics_changed" for name in names})
        )

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
        self.drawing()(ctx, ui_settings, mapping)

    def get_renderer(self) -> Any:
        """Snapshot that Nion Swift from 16.18 on draws."""
        return _renderer_class()(self)


_RENDERER: Any = None


def _renderer_class() -> Any:
    """Class of the snapshot; made late, because its base does not exist before Nion Swift 16.18."""
    global _RENDERER
    if _RENDERER is None:

        class Renderer(Graphics.GraphicRenderer):  # type: ignore[misc]
            def __init__(self, graphic: OneGraphic) -> None:
                super().__init__(graphic)
                self._drawing = graphic.drawing()

            def draw(
                self, ctx: Any, ui_settings: Any, mapping: Any, is_selected: bool, is_focused: bool
            ) -> None:
                self._drawing(ctx, ui_settings, mapping)

            def label_position(self, mapping: Any, font_metrics: Any, padding: float) -> Any:
                return None

        _RENDERER = Renderer
    return _RENDERER


def live_displays(document_models: Iterable[Any], scan_id: str, data_channel_id: str) -> Iterator[Any]:
    """Every display of a live data item; none, where it has not been made yet or was deleted."""
    for document_model in document_models:
        data_item = document_model.get_data_item_channel_reference(scan_id, data_channel_id).data_item
        if data_item is not None and not data_item._closed:
            yield from document_model.get_display_items_for_data_item(data_item)


def graphic_of(display_item: Any, kind: type[OneGraphic]) -> Any:
    """The graphic of a display, or what is left of it in a project that was opened again, or None."""
    return next((g for g in display_item.graphics if g.graphic_id == kind.ID), None)


def put_on(display_item: Any, kind: type[G]) -> G:
    """The graphic of a display, put there where there is none."""
    graphic = graphic_of(display_item, kind)
    if not isinstance(graphic, kind):
        take_off(display_item, kind)
        graphic = kind()
        display_item.add_graphic(graphic)
    return graphic


def take_off(display_item: Any, kind: type[OneGraphic]) -> None:
    """Take the graphic off a display that has one and is still open."""
    graphic = None if display_item._closed else graphic_of(display_item, kind)
    if graphic is not None:
        # The log could undo the removal; nobody will, and an open one counts as a leak.
        display_item.remove_graphic(graphic).close()


class Overlay(Generic[G]):
    """Puts a graphic on the displays of live data items, and takes it off again.

    Parameters
    ----------
    kind
        Of the graphic.

    Attributes
    ----------
    displays
        That it is on, as long as they live.
    """

    def __init__(self, kind: type[G]) -> None:
        self._kind = kind
        self.displays: weakref.WeakSet[Any] = weakref.WeakSet()

    def graphics(self, document_models: Iterable[Any], scan_id: str, data_channel_id: str) -> dict[Any, G]:
        """The graphic of every display of a live data item, put there where there is none."""
        displays = set(live_displays(document_models, scan_id, data_channel_id))
        self.displays.update(displays)
        return {display_item: put_on(display_item, self._kind) for display_item in displays}

    def take_off(self, display_item: Any) -> None:
        """Take it off a display."""
        self.displays.discard(display_item)
        take_off(display_item, self._kind)

    def clear(self) -> None:
        """Take it off every display."""
        for display_item in set(self.displays):
            self.take_off(display_item)
