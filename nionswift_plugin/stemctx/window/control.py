"""Starting, stopping and freezing; and panel and image kept to the state of the service."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from nionswift_plugin.stemctx.service.live_service import LiveService
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import FlagAge, LiveState, LiveStatus
from nionswift_plugin.stemctx.threads.throttle import Throttle
from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window.devices import DevicePicker
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import PanelModel, spoken_freeze
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx.window.screen import Screen
from nionswift_plugin.stemctx.window.settings import Settings
from stemctx_core.results import FrameResult

_PERIOD_S: Final = 0.5


class LiveControl:
    """Holds the live service of the chosen scan device; for the window's thread, except where said.

    Parameters
    ----------
    ui, model, feed, settings
        Of the plug-in.

    Attributes
    ----------
    screen, devices
        Image, and scan devices to choose from.
    on_outdated
        Told why values that were entered do not hold any more, by quantity.
    """

    def __init__(self, ui: UiThread, model: PanelModel, feed: LiveFeed, settings: Settings) -> None:
        self._ui, self._model, self._feed, self._settings = ui, model, feed, settings
        self.screen = Screen(ui, feed)
        self.devices = DevicePicker(ui, model, settings, self.configure, self._device_gone)
        self.on_outdated: Callable[[Mapping[str, str]], None] | None = None
        self._throttle = Throttle(_PERIOD_S)
        self._said = (LiveState.OFF, "")
        self._came: tuple[LiveState, str, FlagAge] | None = None
        self._spoken_of: tuple[FrameResult | None, ShownRule] | None = None

    def start(self) -> None:
        """Judge the frames of the chosen channel, and scan where the scan is not running."""
        scan, service = self.devices.scan, self._feed.service
        if scan is None:
            none = "There is no scan device. Connect or load an instrument."
            self._model.show_status(LiveStatus(LiveState.FAILED, none), running=False)
            return
        if service is not None and service.status.state is LiveState.FAILED:
            service.stop()
        if service is None:
            now = self._settings.now
            service = self._feed.service = LiveService(
                scan,
                scan.stem_controller,
                now.live(),
                address=now.address or None,
                key_files=now.key_files,
                on_result=self.screen.result_came,
                on_state=self._state_came,
            )
        service.start()
        if not scan.is_playing:
            scan.start_playing()

    def stop(self) -> None:
        """Stop judging; the scan goes on."""
        if self._feed.service is not None:
            self._feed.service.stop()
        self.screen.clear()
        self.update()

    def freeze(self) -> None:
        """Keep what is shown while the scan goes on, or go on showing what comes."""
        self.screen.freeze(not self.screen.frozen)
        put(self._model.freeze, spoken_freeze(self.screen.frozen))
        self.update()

    def use(self, rule: ShownRule) -> None:
        """Show other flags, of what is on the screen too."""
        self.screen.use(rule)
        self._show_result()

    def configure(self) -> None:
        """Use device, channel and sample as they are remembered now."""
        service, live = self._feed.service, self._settings.now.live()
        if service is not None and service.scan_hardware_source is not self.devices.scan:
            self.end()
        elif service is not None and service.settings != live:
            service.configure(live)
        self.update()

    def end(self) -> None:
        """End the service and its server."""
        service, self._feed.service = self._feed.service, None
        if service is not None:
            service.close()
        self.screen.clear()
        self.update()

    def update(self) -> None:
        """Bring image and panel to the state of the service; the panel at most twice a second."""
        service = self._feed.service
        status = self._spoken(service.status if service is not None else LiveStatus())
        self.screen.follow(status)
        # A change of state is shown at once.
        said = (status.state, status.reason)
        if said == self._said and not self._throttle.ready():
            self._ui.call_later("panel", self._throttle.remaining_s(), self.update)
            return
        self._said = said
        self._feed.say(status)
        running = service is not None and service.is_running
        self._model.show_status(status, running and status.state is not LiveState.FAILED)
        put(self._model.freeze, spoken_freeze(self.screen.frozen))
        self._show_result()
        # Nion tells of renamed and switched channels only while its own scan panel is open.
        self.devices.show_channels()
        if service is not None and self.on_outdated is not None and (outdated := service.outdated):
            self.on_outdated(outdated)

    def _spoken(self, status: LiveStatus) -> LiveStatus:
        """With the reason where no frames come because the channel is switched off."""
        if status.state not in (LiveState.LIVE, LiveState.STALE) or not (off := self.devices.channel_off):
            return status
        why = f"the channel {off} is switched off: switch it on at the scan, or choose another"
        return dataclasses.replace(status, state=LiveState.STALE, reason=why)

    def _show_result(self) -> None:
        result, rule = self._feed.result, self._feed.rule
        if self._spoken_of is not None and self._spoken_of[0] is result and self._spoken_of[1] == rule:
            return
        self._spoken_of = result, rule
        if result is None:
            self._model.show_nothing()
        else:
            self._model.show_context(result.context)
            self._model.show_result(result, rule)

    def _state_came(self, status: LiveStatus) -> None:
        """From any thread: counts wait for the next update of the panel, what is to be seen at once does not."""
        came = (status.state, status.reason, status.flags)
        if came != self._came or not self._ui.is_waiting("panel"):
            self._came = came
            self._ui.call("state", self.update)

    def _device_gone(self, scan: Any) -> None:
        """From any thread."""
        service = self._feed.service
        if service is not None and service.scan_hardware_source is scan:
            service.stop()
