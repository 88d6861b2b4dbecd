"""The flags on the live image."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from nionswift_plugin.stemctx.overlay.drawing import Widths, draw_markers
from nionswift_plugin.stemctx.overlay.markers import Marker
from nionswift_plugin.stemctx.overlay.one_graphic import (
    Drawing,
    OneGraphic,
    graphic_of,
    live_displays,
    put_on,
    take_off,
)
from nionswift_plugin.stemctx.service.status import FrameOrigin

GRAPHIC_ID: Final = "stemctx_flags"
_WIDTHS_KEPT: Final = 4096


class FlagsGraphic(OneGraphic):
    """All flags of a display."""

    TYPE = "stemctx-flags-graphic"
    TITLE = "Defect flags"
    ID = GRAPHIC_ID

    def __init__(self) -> None:
        super().__init__()
        self.drawn: tuple[Marker, ...] = ()
        self.dimmed = False
        self._widths: Widths = {}

    def show(self, drawn: tuple[Marker, ...], dimmed: bool) -> None:
        """Draw these from now on."""
        if drawn == self.drawn and dimmed == self.dimmed:
            return
        self.drawn, self.dimmed = drawn, dimmed
        self.draw_again()

    def drawing(self) -> Drawing:
        """What draws the flags as they are now."""
        if len(self._widths) > _WIDTHS_KEPT:
            self._widths = {}
        return partial(draw_markers, drawn=self.drawn, dimmed=self.dimmed, widths=self._widths)


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
        """Show flags on every display of the live data item, dimmed where they are older; return on how many."""
        painted = set(live_displays(document_models, origin.hardware_source_id, origin.data_channel_id))
        for display_item in painted:
            put_on(display_item, FlagsGraphic).show(drawn, dimmed)
        for display_item in set(self._displays) - painted:
            self._take_off(display_item)
        self._displays.update(painted)
        return len(painted)

    def dim(self) -> None:
        """Show that the flags are older than the image under them."""
        for display_item in set(self._displays):
            graphic = None if display_item._closed else graphic_of(display_item, FlagsGraphic)
            if isinstance(graphic, FlagsGraphic):
                graphic.show(graphic.drawn, True)

    def clear(self) -> None:
        """Take every flag off."""
        for display_item in set(self._displays):
            self._take_off(display_item)

    def _take_off(self, display_item: Any) -> None:
        self._displays.discard(display_item)
        take_off(display_item, FlagsGraphic)
