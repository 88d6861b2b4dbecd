"""The window as the steps of a demonstration see it."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nionswift_plugin.stemctx.demo.tally import Tally
from nionswift_plugin.stemctx.flags.flag_rows import FlagRow
from nionswift_plugin.stemctx.overlay.composite import GRAPHIC_ID
from nionswift_plugin.stemctx.panel.panel import PANEL_ID
from nionswift_plugin.stemctx.service.status import LiveState
from nionswift_plugin.stemctx.window.opening import live_display
from stemctx_core.errors import InputError, ServerUnavailable
from stemctx_core.results import FrameResult

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.plug_in import PlugIn

_NEXT_S: Final = 120.0


class Stage:
    """The window with its live image.

    Parameters
    ----------
    plug_in, window
        The plug-in, and Nion's document controller.

    Attributes
    ----------
    tally
        Of the frames since it was made.
    """

    def __init__(self, plug_in: PlugIn, window: Any) -> None:
        if plug_in.scan is None:
            raise InputError("There is no scan device to demonstrate with. Load the simulated microscope.")
        self.plug_in, self.window = plug_in, window
        self.tally = Tally(plug_in)

    def close(self) -> None:
        """Listen no more."""
        self.tally.close()

    @property
    def tabs(self) -> Any:
        """The tabs of our panel in this window."""
        return next(p.tabs for p in self.window.workspace_controller.dock_panels if p.panel_id == PANEL_ID)

    @property
    def flag_list(self) -> Any:
        """The list of flags."""
        return self.tabs.handlers["flags"]

    @property
    def display_item(self) -> Any:
        """Of the live image, or None before its first row."""
        return live_display(self.plug_in, self.window)

    @property
    def labels(self) -> list[str]:
        """Of the flags that are drawn on the live image."""
        item = self.display_item
        graphics = [] if item is None else [g for g in item.graphics if g.graphic_id == GRAPHIC_ID]
        return [marker.label for graphic in graphics for marker in graphic.drawn]

    @property
    def judged(self) -> list[FrameResult]:
        """Results of the whole frames of this step that were not refused."""
        return [r for r in self.tally.results_of(self.tally.step) if r.refusal is None]

    def show_tab(self, name: str) -> None:
        """Bring a tab of our panel to the top."""
        self.tabs.tab.value = list(self.tabs.handlers).index(name)

    def choose_in_the_middle(self) -> FlagRow:
        """Choose the row of the list of flags that is nearest to the middle of the image."""
        rows: list[FlagRow] = self.flag_list.rows
        if not rows:
            raise InputError("The list of flags is empty, so that none can be chosen.")
        height, width = rows[0].flag.result.frame.shape
        distances = [math.hypot(row.y_px - height / 2, row.x_px - width / 2) for row in rows]
        index = distances.index(min(distances))
        self.flag_list.list_box.set_selected_index(index)  # as a click does
        return rows[index]

    async def until(self, what: str, so: Callable[[], Any], limit_s: float = _NEXT_S) -> None:
        """Wait until something is so.

        Raises
        ------
        ServerUnavailable
            Where it is not so in time, or the service has failed.
        """
        end = time.monotonic() + limit_s
        while not so():
            status = self.plug_in.feed.status
            if time.monotonic() > end or status.state is LiveState.FAILED:
                raise ServerUnavailable(f"Waited in vain for {what} ({status.state}: {status.reason}).")
            await asyncio.sleep(0.1)

    def summary(self) -> dict[str, Any]:
        """How the plug-in stands, ready for JSON."""
        status = self.plug_in.feed.status
        painting = list(self.plug_in.screen.paint_ms)[1:]  # the first time makes the graphic
        return {
            "state": status.state.value,
            "reason": status.reason,
            "frames": {"scanned": status.scanned, "answered": status.answered, "replaced": status.replaced},
            "latency_ms": status.latency_ms,
            "model": status.model,
            "engine": status.engine,
            "overlay_ms_median": statistics.median(painting) if painting else None,
            "frames_judged": self.tally.rows(),
        }
