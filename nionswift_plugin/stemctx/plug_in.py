"""Joins the live service to Nion Swift: hardware that comes and goes, windows, panel, overlay, settings."""

from __future__ import annotations

import logging
import pathlib
import time
from collections import deque
from typing import Any

from nion.swift import Workspace
from nion.utils import Registry

from nionswift_plugin.stemctx import demo, fields
from nionswift_plugin.stemctx.feed import LiveFeed
from nionswift_plugin.stemctx.markers import Marker, markers
from nionswift_plugin.stemctx.overlay import FlagsOverlay
from nionswift_plugin.stemctx.panel import PANEL_ID, PANEL_NAME, FlagsPanel
from nionswift_plugin.stemctx.panel_model import PanelModel, put
from nionswift_plugin.stemctx.script_sessions import OPEN_SESSIONS
from nionswift_plugin.stemctx.service import LiveService
from nionswift_plugin.stemctx.settings import Remembered, Settings, SettingsFile
from nionswift_plugin.stemctx.status import FlagAge, LiveState, LiveStatus
from nionswift_plugin.stemctx.throttle import Throttle
from nionswift_plugin.stemctx.ui_thread import UiThread
from stemctx_core.errors import InputError
from stemctx_core.results import FrameResult

logger = logging.getLogger(__name__)

_PANEL_PERIOD_S = 0.2
_SCAN_DEVICE = "scan_hardware_source"


class PlugIn:
    """The plug-in as long as it is loaded; its methods belong to the window's thread, except where said.

    Parameters
    ----------
    api
        Nion Swift's plug-in interface.
    """

    def __init__(self, api: Any) -> None:
        self._application = api.application._application
        configuration = api.application.configuration_location
        self.settings = Settings(SettingsFile(pathlib.Path(configuration) if configuration else None))
        self.feed = LiveFeed()
        self.ui = UiThread()
        self.model = PanelModel()
        self.overlay = FlagsOverlay()
        self.service: LiveService | None = None
        self.paint_ms: deque[float] = deque(maxlen=1000)
        self._devices: list[Any] = []
        self._listeners: list[Any] = []
        self._throttle, self._paints = Throttle(_PANEL_PERIOD_S), Throttle(_PANEL_PERIOD_S)
        self._newest: tuple[FrameResult, tuple[Marker, ...]] | None = None
        self._listed: FrameResult | None = None
        self._said = (LiveState.OFF, "")
        fields.show(self.model, self.remembered)
        fields.listen(self.model, self._edited)
        Workspace.WorkspaceManager().register_panel(
            FlagsPanel,
            PANEL_ID,
            PANEL_NAME,
            ["left", "right"],
            "right",
            {
                "operator": self,
                "model": self.model,
                "feed": self.feed,
                "settings": self.settings,
                "min-width": 320,
                "height": 480,
            },
        )
        self._application.register_menu_handler(self._window_ready)

    def attach(self) -> None:
        """Use the scan devices that are there, and those that come later."""
        self._listeners = [
            Registry.listen_component_registered_event(self._hardware_came),
            Registry.listen_component_unregistered_event(self._hardware_went),
            OPEN_SESSIONS.changed.listen(self._scripts_changed),
        ]
        self._show_devices()

    def close(self) -> None:
        """Leave nothing behind: no listener, thread, process or graphic."""
        self._listeners.clear()
        fields.unlisten(self.model)
        self._application.unregister_menu_handler(self._window_ready)
        Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
        self._end_service()
        self.ui.close()

    @property
    def remembered(self) -> Remembered:
        """What the panel remembers now."""
        return self.settings.now

    @remembered.setter
    def remembered(self, now: Remembered) -> None:
        self.settings.change(now)

    @property
    def scan(self) -> Any:
        """Scan device that was chosen, or None where there is none."""
        index = self.model.device_index.value or 0
        return self._devices[index] if 0 <= index < len(self._devices) else None

    def start(self) -> None:
        """Judge the frames of the chosen channel, and scan where the scan is not running."""
        scan = self.scan
        if scan is None:
            self._show_status(
                LiveStatus(LiveState.FAILED, "There is no scan device. Connect or load an instrument."), False
            )
            return
        if self.service is not None and self.service.scan_hardware_source is not scan:
            self._end_service()
        if self.service is None:
            self.service = LiveService(
                scan,
                scan.stem_controller,
                self.remembered.live(),
                address=self.remembered.address or None,
                key_files=self.remembered.key_files,
                on_result=self._result_came,
                on_state=self._state_came,
            )
            self.feed.service = self.service
        elif self.service.status.state is LiveState.FAILED:
            self.service.stop()
        self.service.start()
        if not scan.is_playing:
            scan.start_playing()

    def stop(self) -> None:
        """Stop judging; the scan goes on."""
        if self.service is not None:
            self.service.stop()
        self.overlay.clear()
        self._update()

    def stop_scripts(self) -> None:
        """Stop the sessions of scripts; the beam is off when this returns."""
        OPEN_SESSIONS.stop_all()

    def window_opened(self, window: Any) -> None:
        """A window with the panel has opened."""
        self.ui.add_window(window)

    def window_closed(self, window: Any) -> None:
        """A window is about to close; with the last one, judging ends, so that no graphic is saved."""
        self.ui.remove_window(window)
        if not self.ui.windows:
            self.stop()

    def _window_ready(self, window: Any) -> None:
        self.ui.add_window(window)
        demo.start_if_asked(self, window)

    def _scripts_changed(self) -> None:
        """From any thread."""
        self.ui.call("scripts", lambda: self.model.show_scripts(len(OPEN_SESSIONS)))

    def _hardware_came(self, component: Any, types: set[str]) -> None:
        """From any thread."""
        if _SCAN_DEVICE in types:
            self.ui.call("devices", self._show_devices)

    def _hardware_went(self, component: Any, types: set[str]) -> None:
        """From any thread."""
        if _SCAN_DEVICE in types:
            service = self.service
            if service is not None and service.scan_hardware_source is component:
                service.stop()
            self.ui.call("devices", self._show_devices)

    def _show_devices(self) -> None:
        """Offer the scan devices, the remembered one chosen, or else the one of highest priority."""
        preferred = Registry.get_component(_SCAN_DEVICE)
        found = Registry.get_components_by_type(_SCAN_DEVICE)
        self._devices = sorted(found, key=lambda d: (d is not preferred, str(d.display_name)))
        ids = [d.hardware_source_id for d in self._devices]
        if self.service is not None and self.service.scan_hardware_source not in self._devices:
            self._end_service()
        wanted = self.remembered.scan_device_id
        chosen = ids.index(wanted) if wanted in ids else 0
        put(self.model.devices, [str(d.display_name) for d in self._devices])
        put(self.model.device_index, chosen)
        self._show_channels()

    def _show_channels(self) -> None:
        scan = self.scan
        names = [] if scan is None else [str(scan.get_channel_name(i)) for i in range(scan.channel_count)]
        chosen = self.remembered.channel_index if self.remembered.channel_index < len(names) else 0
        put(self.model.channels, names)
        put(self.model.channel_index, chosen)

    def _edited(self) -> None:
        """A field of the panel was changed: remember it and use it from the next frame on."""
        scan = self.scan
        device_id = scan.hardware_source_id if scan is not None else self.remembered.scan_device_id
        try:
            now = fields.read(self.model, self.remembered, device_id)
        except InputError as error:
            put(self.model.reason, str(error))
            return
        if now == self.remembered:
            return
        another_device = (
            bool(self.remembered.scan_device_id) and now.scan_device_id != self.remembered.scan_device_id
        )
        self.settings.change(now)
        if self.service is not None and self.service.scan_hardware_source is not scan:
            self._end_service()
        elif self.service is not None:
            self.service.configure(now.live())
        if another_device:
            self._show_channels()
        self._update()

    def _end_service(self) -> None:
        service, self.service = self.service, None
        self.feed.service = None
        if service is not None:
            service.close()
        self.overlay.clear()
        self._update()

    def _result_came(self, result: FrameResult, latency_ms: float) -> None:
        """From the client's thread: prepare what is drawn, and hand it to the window."""
        drawn = markers(result)
        self.ui.call("result", lambda: self._show_result(result, drawn))

    def _state_came(self, status: LiveStatus) -> None:
        """From any thread."""
        self.ui.call("state", self._update)

    def _show_newest(self) -> None:
        """Show what had to wait, unless a newer result was shown meanwhile."""
        if self._newest is not None:
            self._show_result(*self._newest)

    def _show_result(self, result: FrameResult, drawn: tuple[Marker, ...]) -> None:
        """Paint flags, at most five times a second: of what comes faster only the newest is painted."""
        if not self._paints.ready():
            self._newest = result, drawn
            self.ui.call_later("paint", self._paints.remaining_s(), self._show_newest)
            return
        self._newest = None
        service = self.service
        origin = service.origin(result.frame) if service is not None else None
        if service is None or origin is None or service.status.flags is FlagAge.GONE:
            return
        start = time.perf_counter_ns()
        self.overlay.paint(self.ui.document_models, origin, drawn)
        self.paint_ms.append((time.perf_counter_ns() - start) / 1e6)
        self._listed = result
        self._update()
        self.feed.show(result, origin)

    def _update(self) -> None:
        """Bring overlay and panel to the state of the service; the panel at most five times a second."""
        service = self.service
        status = service.status if service is not None else LiveStatus()
        if status.flags is FlagAge.GONE:
            self.overlay.clear()
            self._listed = None
            self.feed.show(None)
        elif status.flags is FlagAge.STALE:
            self.overlay.dim()
        # A change of state is shown at once.
        said = (status.state, status.reason)
        if said == self._said and not self._throttle.ready():
            self.ui.call_later("panel", self._throttle.remaining_s(), self._update)
            return
        self._said = said
        self.feed.say(status)
        self._show_status(status, service is not None and service.is_running)
        if self._listed is not None:
            self.model.show_context(self._listed.context)
            self.model.show_flags(self._listed)

    def _show_status(self, status: LiveStatus, running: bool) -> None:
        self.model.show_status(status, running and status.state is not LiveState.FAILED)


_plug_in: PlugIn | None = None


def open_plug_in(api: Any) -> PlugIn:
    """Load the plug-in into Nion Swift."""
    global _plug_in
    _plug_in = PlugIn(api)
    return _plug_in


def attach() -> None:
    """Look for instruments."""
    if _plug_in is not None:
        _plug_in.attach()


def close_plug_in() -> None:
    """Take the plug-in out of Nion Swift."""
    global _plug_in
    plug_in, _plug_in = _plug_in, None
    if plug_in is not None:
        plug_in.close()


def current() -> PlugIn | None:
    """The plug-in that is loaded, for scripts run inside Nion Swift."""
    return _plug_in
