"""A window made ready for an operator: our panels in sight, the live image on the screen, scanning and flagging."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.plug_in import PlugIn

logger = logging.getLogger(__name__)

#: Nion Swift lays its panels out after the window has opened.
SETTLE_S: Final = 1.5
#: Begins the identifier of every panel of ours, that of the simulated specimen too.
_OURS: Final = "stemctx-"
#: With these above ours, the window is taller than many screens.
_IN_THE_WAY: Final = ("inspector-panel", "info-panel")
_FIRST_ROWS_S: Final = 60.0


def open_soon(plug_in: PlugIn, window: Any) -> None:
    """Do `open_live` as soon as the window has settled."""
    loop = window.event_loop
    loop.call_later(SETTLE_S, lambda: loop.create_task(_open(plug_in, window)))


async def open_live(plug_in: PlugIn, window: Any) -> Any:
    """Show our panels, start scanning and judging, and show the live image.

    Returns
    -------
    Nion's display item of the live image; None where there is no scan device or no row came in a minute.
    """
    for panel in window.workspace_controller.dock_panels:
        if panel.panel_id.startswith(_OURS):
            panel.show()
        elif panel.panel_id in _IN_THE_WAY:
            panel.hide()
    plug_in.start()
    scan = plug_in.scan
    if scan is None:
        return None
    end = time.monotonic() + _FIRST_ROWS_S
    while (display_item := live_display(plug_in, window)) is None and time.monotonic() < end:
        await asyncio.sleep(0.1)
    if display_item is not None:
        window.workspace_controller.display_panels[0].set_display_panel_display_item(display_item)
    return display_item


def live_display(plug_in: PlugIn, window: Any) -> Any:
    """Nion's display item of the channel that is judged, or None before its first row."""
    scan, document_model = plug_in.scan, window.document_model
    channel = scan.get_channel_id(plug_in.remembered.channel_index)
    data_item = document_model.get_data_item_channel_reference(scan.hardware_source_id, channel).data_item
    return document_model.get_display_item_for_data_item(data_item) if data_item is not None else None


async def _open(plug_in: PlugIn, window: Any) -> None:
    try:
        await open_live(plug_in, window)
    except Exception:
        logger.exception("The window could not be made ready")
