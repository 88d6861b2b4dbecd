"""A run by itself, for the tests of the real window: start, scan, flag, write a result file, close.

Asked for by the environment: ``STEMCTX_DEMO`` names the file to write, ``STEMCTX_DEMO_SECONDS`` how long the
window stays open after the first flags.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pathlib
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from nionswift_plugin.stemctx.overlay import GRAPHIC_ID
from nionswift_plugin.stemctx.panel import PANEL_ID
from stemctx_core.whole_files import write_whole

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.plug_in import PlugIn

logger = logging.getLogger(__name__)

FILE: Final = "STEMCTX_DEMO"
SECONDS: Final = "STEMCTX_DEMO_SECONDS"

_SETTLE_S = 1.5
_PATIENCE_S = 120.0
_FRAMES = 3
#: With these above ours, the window is taller than many screens.
_IN_THE_WAY: Final = ("inspector-panel", "info-panel")


def start_if_asked(plug_in: PlugIn, window: Any) -> None:
    """Start the run where the environment asks for it."""
    path = os.environ.get(FILE)
    if path:
        loop = window.event_loop
        loop.call_later(_SETTLE_S, lambda: loop.create_task(_run(plug_in, window, pathlib.Path(path))))


async def _run(plug_in: PlugIn, window: Any, path: pathlib.Path) -> None:
    said: dict[str, Any] = {"ok": False}
    try:
        said = await _demonstrate(plug_in, window)
    except Exception as error:
        logger.exception("The demonstration failed")
        said["error"] = f"{type(error).__name__}: {error}"
    _write(path, said)
    await asyncio.sleep(float(os.environ.get(SECONDS, "5")))
    plug_in.stop()
    scan = plug_in.scan
    if scan is not None:
        scan.abort_playing()
    await asyncio.sleep(1.0)
    window.queue_request_close()


async def _demonstrate(plug_in: PlugIn, window: Any) -> dict[str, Any]:
    for panel in window.workspace_controller.dock_panels:
        if panel.panel_id == PANEL_ID:
            panel.show()
        elif panel.panel_id in _IN_THE_WAY:
            panel.hide()
    plug_in.start()
    scan = plug_in.scan
    if scan is None:
        return {"ok": False, "error": plug_in.model.reason.value}
    deadline = time.monotonic() + _PATIENCE_S
    display_item = None
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        display_item = display_item or _show_live(plug_in, window, scan)
        service = plug_in.service
        if display_item is not None and service is not None:
            graphics = [g for g in display_item.graphics if g.graphic_id == GRAPHIC_ID]
            if service.status.answered >= _FRAMES and graphics and graphics[0].drawn:
                break
    status = plug_in.service.status if plug_in.service is not None else None
    graphics = [] if display_item is None else [g for g in display_item.graphics if g.graphic_id == GRAPHIC_ID]
    painting = list(plug_in.paint_ms)[1:]  # the first time makes the graphic
    flags = [marker.label for g in graphics for marker in g.drawn]
    return {
        "ok": bool(flags),
        "state": plug_in.model.state.value,
        "reason": plug_in.model.reason.value,
        "frames": {} if status is None else {"scanned": status.scanned, "answered": status.answered},
        "latency_ms": None if status is None else status.latency_ms,
        "model": plug_in.model.model_name.value,
        "engine": plug_in.model.engine.value,
        "graphics": len(graphics),
        "flags": flags,
        "listed": list(plug_in.model.flags.value),
        "overlay_ms_median": statistics.median(painting) if painting else None,
    }


def _show_live(plug_in: PlugIn, window: Any, scan: Any) -> Any:
    """Put the live image into the first display panel, once there is one."""
    document_model = window.document_model
    channel = scan.get_channel_id(plug_in.remembered.channel_index)
    data_item = document_model.get_data_item_channel_reference(scan.hardware_source_id, channel).data_item
    display_item = document_model.get_display_item_for_data_item(data_item) if data_item is not None else None
    if display_item is not None:
        window.workspace_controller.display_panels[0].set_display_panel_display_item(display_item)
    return display_item


def _write(path: pathlib.Path, said: dict[str, Any]) -> None:
    write_whole(path, json.dumps(said, indent=1))
