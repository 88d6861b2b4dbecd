"""The scan devices and their channels, as the panel offers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from nion.utils import Registry

from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx.window.settings import Settings

_SCAN_DEVICE: Final = "scan_hardware_source"
_OFF: Final = " (off)"


class DevicePicker:
    """Offers what is there, and keeps to the detector that was chosen whatever comes, goes, or is renamed.

    Nion knows a channel by its place. So a detector that moves to another place is followed by its name; where the
    name is gone, the detector was renamed, and the place holds.

    Parameters
    ----------
    ui, model, settings
        Of the plug-in.
    changed
        Called on the window's thread when another device, place or name is to be used.
    device_gone
        Called with a scan device that is no more, at once, on any thread.

    Attributes
    ----------
    scan
        Scan device that is chosen, or None where there is none.
    """

    def __init__(
        self,
        ui: UiThread,
        model: PanelModel,
        settings: Settings,
        changed: Callable[[], None],
        device_gone: Callable[[Any], None],
    ) -> None:
        self.scan: Any = None
        self._ui, self._model, self._settings = ui, model, settings
        self._changed, self._device_gone = changed, device_gone
        self._followed: Any = None
        self._devices: list[Any] = []
        self._listeners: list[Any] = []
        self._channel_listener: Any = None
        self._showing = False
        model.device_index.on_value_changed = self._device_picked
        model.channel_index.on_value_changed = self._channel_picked

    def open(self) -> None:
        """Offer the scan devices that are there, and those that come later."""
        self._listeners = [
            Registry.listen_component_registered_event(self._came),
            Registry.listen_component_unregistered_event(self._went),
        ]
        self.show()

    def close(self) -> None:
        """Listen no more, and let go of the device: where Nion Swift closes, it was closed before."""
        self._listeners.clear()
        self._channel_listener = None
        self.scan = self._followed = None
        self._model.device_index.on_value_changed = None
        self._model.channel_index.on_value_changed = None

    @property
    def channel_off(self) -> str:
        """Name of the chosen channel, if it is switched off at the scan device."""
        scan, index = self.scan, self._settings.now.channel_index
        if scan is None or index >= scan.channel_count:
            return ""
        state = scan.get_channel_state(index)
        return "" if state.enabled else str(state.name)

    def show(self) -> None:
        """Offer the scan devices, the remembered one chosen, or else the one of highest priority."""
        preferred = Registry.get_component(_SCAN_DEVICE)
        found = Registry.get_components_by_type(_SCAN_DEVICE)
        self._devices = sorted(found, key=lambda d: (d is not preferred, str(d.display_name)))
        ids = [d.hardware_source_id for d in self._devices]
        wanted = self._settings.now.scan_device_id
        self._offer(
            self._model.devices,
            [str(d.display_name) for d in self._devices],
            self._model.device_index,
            ids.index(wanted) if wanted in ids else 0,
        )
        self._use(self._devices[self._model.device_index.value] if self._devices else None)

    def show_channels(self) -> None:
        """Offer the channels of the chosen device as they are now, and follow the chosen detector."""
        scan, now = self.scan, self._settings.now
        states = [] if scan is None else [scan.get_channel_state(i) for i in range(scan.channel_count)]
        names = [str(state.name) for state in states]
        index = now.channel_index if now.channel_index < len(names) else 0
        if now.channel_name in names and names[index] != now.channel_name:
            index = names.index(now.channel_name)
        said = [name if state.enabled else name + _OFF for name, state in zip(names, states, strict=True)]
        self._offer(self._model.channels, said, self._model.channel_index, index)
        if names:
            self._remember(index, names[index])

    def _offer(self, items: Any, said: list[str], index: Any, chosen: int) -> None:
        # Widgets forget what was chosen when their lines are replaced, and say so; that is no choice of the user's.
        self._showing = True
        try:
            put(items, said)
            put(index, chosen)
        finally:
            self._showing = False

    def _use(self, scan: Any) -> None:
        if scan is not self._followed:
            self.scan = self._followed = scan
            self._channel_listener = (
                None if scan is None else scan.channel_state_changed_event.listen(self._channels_changed)
            )
            self._model.forget_context()
            self._changed()
        self.show_channels()

    def _remember(self, index: int, name: str) -> None:
        now = self._settings.now
        if (index, name) != (now.channel_index, now.channel_name):
            self._settings.change(msgspec.structs.replace(now, channel_index=index, channel_name=name))
            self._changed()

    def _device_picked(self, index: int | None) -> None:
        if self._showing or index is None or not 0 <= index < len(self._devices):
            return
        chosen = self._devices[index]
        self._settings.change(
            msgspec.structs.replace(self._settings.now, scan_device_id=chosen.hardware_source_id)
        )
        self._use(chosen)

    def _channel_picked(self, index: int | None) -> None:
        if (
            not self._showing
            and self.scan is not None
            and index is not None
            and 0 <= index < self.scan.channel_count
        ):
            self._remember(index, str(self.scan.get_channel_name(index)))
            self._model.forget_context()

    def _channels_changed(self, *_: Any) -> None:
        """From any thread."""
        self._ui.call("channels", self.show_channels)

    def _came(self, component: Any, types: set[str]) -> None:
        """From any thread."""
        if _SCAN_DEVICE in types:
            self._ui.call("devices", self.show)

    def _went(self, component: Any, types: set[str]) -> None:
        """From any thread; of a scan device that goes, Nion gives no types."""
        if component in self._devices:
            if component is self.scan:
                self.scan = None  # at once: it is about to be closed, and must not be asked any more
            self._device_gone(component)
            self._ui.call("devices", self.show)
