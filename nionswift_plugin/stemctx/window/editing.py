"""What is entered in the panel: checked, remembered for the project, and used at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nionswift_plugin.stemctx.context.geometry import ANGLES, geometry, reading
from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window import fields
from nionswift_plugin.stemctx.window.control import LiveControl
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import QUANTITIES, PanelModel
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx.window.settings import Remembered, Settings
from stemctx_core.errors import InputError

_KEEP_S: Final = 1.0


class FieldEditor:
    """Follows the fields of the panel; for the window's thread.

    Parameters
    ----------
    ui, model, feed, settings, control
        Of the plug-in.
    """

    def __init__(
        self, ui: UiThread, model: PanelModel, feed: LiveFeed, settings: Settings, control: LiveControl
    ) -> None:
        self._ui, self._model, self._feed = ui, model, feed
        self._settings, self._control = settings, control
        self._project = ""
        self._showing = False
        feed.use(settings.now.rule)
        fields.show(model, settings.now)
        fields.show_rule(model, settings.now.rule)
        fields.listen(model, self._edited, self._rule_edited)
        control.on_outdated = self.ask_again

    def close(self) -> None:
        """Follow no more."""
        fields.unlisten(self._model)
        self._control.on_outdated = None
        self._keep_rule()

    def open_project(self, window: Any) -> None:
        """Show and use the sample of a window's project; one that is not known begins with the last sample."""
        document_model = window.document_model
        project = "" if document_model is None else str(document_model._project.project_uuid or "")
        if project and project != self._project:
            self._project = project
            self._settings.change(self._settings.now.of_project(project))
            self._show()
            self._control.configure()

    def _edited(self) -> None:
        """A field was changed: remember it and use it from the next frame on."""
        if self._showing:
            return
        try:
            now = fields.read(self._model, self._settings.now)
        except InputError as error:
            put(self._model.problem, str(error))
            return
        put(self._model.problem, "")
        now = self._of_the_detector(now)
        self._settings.change(now.for_project(self._project) if self._project else now)
        self._show()
        self._control.configure()

    def _of_the_detector(self, now: Remembered) -> Remembered:
        """With what the angles hold for, where one was entered just now."""
        before = self._settings.now.user
        if all(now.user.get(name) == before.get(name) for name in ANGLES):
            return now
        scan = self._control.devices.scan
        if scan is None or not any(name in now.user for name in ANGLES):
            return msgspec.structs.replace(now, entered_for=None)
        channel = str(scan.get_channel_name(now.channel_index))
        names, read = now.controls.camera_length, reading(scan.stem_controller)
        stands = geometry(str(scan.hardware_source_id), channel, names, read)
        if now.entered_for is not None and now.entered_for.change(stands):
            # The other angle is of another camera length; it is asked for again.
            kept = {
                name: value
                for name, value in now.user.items()
                if name not in ANGLES or value != before.get(name)
            }
            now = msgspec.structs.replace(now, user=kept)
        return msgspec.structs.replace(now, entered_for=stands)

    def ask_again(self, outdated: Mapping[str, str]) -> None:
        """Forget values that were entered and do not hold any more, and say why."""
        now = self._settings.now
        gone = [name for name in outdated if name in now.user]
        if not gone:
            return
        kept = {name: value for name, value in now.user.items() if name not in gone}
        self._settings.change(msgspec.structs.replace(now, user=kept))
        self._show()
        labels = {name: label for name, label, _ in QUANTITIES}
        put(self._model.problem, ". ".join(f"{labels[name]}: {outdated[name]}" for name in gone) + ".")
        self._control.configure()

    def _rule_edited(self) -> None:
        """Other flags are to be shown, of what is on the screen too."""
        self._control.use(fields.read_rule(self._model))
        # A slider that is dragged says so many times a second, and the file may lie on a slow disk.
        self._ui.call_later("rule", _KEEP_S, self._keep_rule)

    def _keep_rule(self) -> None:
        self._settings.change(msgspec.structs.replace(self._settings.now, rule=self._feed.rule))

    def _show(self) -> None:
        self._showing = True
        try:
            fields.show(self._model, self._settings.now)
        finally:
            self._showing = False
