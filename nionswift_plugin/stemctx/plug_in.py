"""Joins the live service to Nion Swift: windows and projects, panel, image, scan devices, settings."""

from __future__ import annotations

import logging
import pathlib
from collections import deque
from typing import Any, Final

import msgspec
from nion.swift import Workspace

from nionswift_plugin.stemctx import demo, fields
from nionswift_plugin.stemctx.control import LiveControl
from nionswift_plugin.stemctx.feed import LiveFeed
from nionswift_plugin.stemctx.panel import PANEL_ID, PANEL_NAME, FlagsPanel
from nionswift_plugin.stemctx.panel_model import PanelModel, put
from nionswift_plugin.stemctx.script_sessions import OPEN_SESSIONS
from nionswift_plugin.stemctx.service import LiveService
from nionswift_plugin.stemctx.settings import Remembered, Settings, SettingsFile
from nionswift_plugin.stemctx.ui_thread import UiThread
from stemctx_core.errors import InputError

logger = logging.getLogger(__name__)

_KEEP_S: Final = 1.0


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
        self._project = ""
        self._listener: Any = None
        self._showing = False
        self.feed.use(self.remembered.rule)
        fields.show(self.model, self.remembered)
        fields.show_rule(self.model, self.remembered.rule)
        fields.listen(self.model, self._edited, self._rule_edited)
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
        fields.unlisten(self.model)
        self._application.unregister_menu_handler(self._window_ready)
        Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
        self._keep_rule()
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
        """Show the sample of the window's project."""
        self.ui.add_window(window)
        project = project_of(window)
        if project and project != self._project:
            self._project = project
            self.settings.change(self.remembered.of_project(project))
            self._show_fields()
            self.control.configure()

    def _scripts_changed(self) -> None:
        """From any thread."""
        self.ui.call("scripts", lambda: self.model.show_scripts(len(OPEN_SESSIONS)))

    def _edited(self) -> None:
        """A field was changed: remember it and use it from the next frame on."""
        if self._showing:
            return
        try:
            now = fields.read(self.model, self.remembered)
        except InputError as error:
            put(self.model.problem, str(error))
            return
        put(self.model.problem, "")
        self.settings.change(now.for_project(self._project) if self._project else now)
        self._show_fields()
        self.control.configure()

    def _rule_edited(self) -> None:
        """Other flags are to be shown, of what is on the screen too."""
        if self._showing:
            return
        self.control.use(fields.read_rule(self.model))
        # A slider that is dragged says so many times a second, and the file may lie on a slow disk.
        self.ui.call_later("rule", _KEEP_S, self._keep_rule)

    def _keep_rule(self) -> None:
        self.settings.change(msgspec.structs.replace(self.remembered, rule=self.feed.rule))

    def _show_fields(self) -> None:
        self._showing = True
        try:
            fields.show(self.model, self.remembered)
        finally:
            self._showing = False


def project_of(window: Any) -> str:
    """Identifier of the project of a window; empty where there is none."""
    document_model = window.document_model
    return "" if document_model is None else str(document_model._project.project_uuid or "")


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
