"""The flags on the live image."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from nionswift_plugin.stemctx.overlay.drawing import Widths, draw_markers
from nionswift_plugin.stemctx.overlay.markers import Marker
from nionswift_plugin.stemctx.overlay.one_graphic import Drawing, OneGraphic, Overlay, graphic_of
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


class FlagsOverlay(Overlay[FlagsGraphic]):
    """The flags on the displays of one live data item at a time."""

    def __init__(self) -> None:
        super().__init__(FlagsGraphic)

    def paint(
        self,
        document_models: Iterable[Any],
        origin: FrameOrigin,
        drawn: tuple[Marker, ...],
        dimmed: bool = False,
    ) -> int:
        """Show flags on every display of the live data item, dimmed where they are older; return on how many."""
        painted = self.graphics(document_models, origin.hardware_source_id, origin.data_channel_id)
        for graphic in painted.values():
            graphic.show(drawn, dimmed)
        for display_item in set(self.displays) - painted.keys():
            self.take_off(display_item)
        return len(painted)

    def dim(self) -> None:
        """Show that the flags are older than the image under them."""
        for display_item in set(self.displays):
            graphic = None if display_item._closed else graphic_of(display_item, FlagsGraphic)
            if isinstance(graphic, FlagsGraphic):
                graphic.show(graphic.drawn, True)
