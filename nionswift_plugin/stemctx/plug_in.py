"""Joins the live service to Nion Swift: windows and projects, panel, image, scan devices, settings."""

from __future__ import annotations

import logging
import pathlib
from collections import deque
from typing import Any, Final

from nion.swift import Workspace

from nionswift_plugin.stemctx.demo import operator as demo
from nionswift_plugin.stemctx.loading import Loaded
from nionswift_plugin.stemctx.panel.panel import PANEL_ID, PANEL_NAME, FlagsPanel
from nionswift_plugin.stemctx.scripting.sessions import OPEN_SESSIONS
from nionswift_plugin.stemctx.service.live_service import LiveService
from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window.control import LiveControl
from nionswift_plugin.stemctx.window.editing import FieldEditor
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.settings import Remembered, Settings, SettingsFile

logger = logging.getLogger(__name__)


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
        self.ui = UiThread()
        self.model = PanelModel()
        self.feed = LiveFeed()
        self.control = LiveControl(self.ui, self.model, self.feed, self.settings)
        self.screen = self.control.screen
        self._editor = FieldEditor(self.ui, self.model, self.feed, self.settings, self.control)
        self._listener: Any = None
        properties = {"operator": self, "model": self.model, "feed": self.feed, "settings": self.settings}
        Workspace.WorkspaceManager().register_panel(
            FlagsPanel,
            PANEL_ID,
            PANEL_NAME,
            ["left", "right"],
            "right",
            {**properties, "min-width": 340, "height": 480},
        )
        self._application.register_menu_handler(self._window_ready)

    def attach(self) -> None:
        """Use the scan devices that are there, and those that come later."""
        self._listener = OPEN_SESSIONS.changed.listen(self._scripts_changed)
        self.control.devices.open()

    def close(self) -> None:
        """Leave nothing behind: no listener, thread, process or graphic."""
        self._listener = None
        self.control.devices.close()
        self._editor.close()
        self._application.unregister_menu_handler(self._window_ready)
        Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
        self.control.end()
        self.ui.close()

    @property
    def service(self) -> LiveService | None:
        """The live service, from the first start on."""
        return self.feed.service

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
        return self.control.devices.scan

    @property
    def paint_ms(self) -> deque[float]:
        """How long the newest paintings of the image took (ms)."""
        return self.screen.paint_ms

    def start(self) -> None:
        """Judge the frames of the chosen channel, and scan where the scan is not running."""
        self.control.start()

    def stop(self) -> None:
        """Stop judging; the scan goes on."""
        self.control.stop()

    def freeze(self) -> None:
        """Keep what is shown while the scan goes on, or go on showing what comes."""
        self.control.freeze()

    def stop_scripts(self) -> None:
        """Stop the sessions of scripts; the beam is off when this returns."""
        OPEN_SESSIONS.stop_all()

    def window_opened(self, window: Any) -> None:
        """A window with the panel has opened."""
        self._add_window(window)

    def window_closed(self, window: Any) -> None:
        """A window is about to close; with the last one, judging ends, so that no graphic is saved."""
        self.ui.remove_window(window)
        if not self.ui.windows:
            self.stop()

    def _window_ready(self, window: Any) -> None:
        self._add_window(window)
        demo.start_if_asked(self, window)

    def _add_window(self, window: Any) -> None:
        self.ui.add_window(window)
        self._editor.open_project(window)

    def _scripts_changed(self) -> None:
        """From any thread."""
        self.ui.call("scripts", lambda: self.model.show_scripts(len(OPEN_SESSIONS)))


LOADED: Final = Loaded(PlugIn)
#: The plug-in that is loaded, for scripts run inside Nion Swift; None where it is not.
current: Final = LOADED.current
