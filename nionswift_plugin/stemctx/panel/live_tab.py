"""The first tab of the panel: state and buttons, and the sections of what is imaged and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from nion.ui import Declarative

from nionswift_plugin.stemctx.panel.imaged_section import ControlsHandler, ImagedHandler
from nionswift_plugin.stemctx.panel.shown_section import ShownHandler
from nionswift_plugin.stemctx.threads.guarded import guarded
from nionswift_plugin.stemctx.window.layout import bound, row, said, text, ui
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.properties import put

_LEAST_WIDTH: Final = 420
#: A text that may be broken takes as little width as it can, unless it is given one.
_COUNTS_WIDTH: Final = 280
_SECTIONS: Final = {"imaged": ImagedHandler, "shown": ShownHandler, "controls": ControlsHandler}


class Operator(Protocol):
    """What the buttons of the panel do."""

    def start(self) -> None:
        """Scan, and judge the frames."""

    def stop(self) -> None:
        """Stop judging; the scan goes on."""

    def freeze(self) -> None:
        """Keep what is shown while the scan goes on, or go on showing what comes."""

    def stop_scripts(self) -> None:
        """Stop the sessions of scripts, and take the beam off the sample."""

    def window_opened(self, window: Any) -> None:
        """A window has the panel from now on."""

    def window_closed(self, window: Any) -> None:
        """A window is about to close."""


class LiveHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the tab out and passes clicks on."""

    def __init__(self, model: PanelModel, operator: Operator) -> None:
        super().__init__()
        self.model = model
        self._operator = operator
        #: Control names are looked at once in the life of a column.
        self.names_expanded = False

        def button(label: str, clicked: str, enabled: str, tip: str) -> Any:
            return ui.create_push_button(
                text=label, on_clicked=clicked, enabled=bound(f"model.{enabled}.value"), tool_tip=tip
            )

        content = ui.create_column(
            ui.create_row(
                button("Start", "start_clicked", "can_start", "Judge the frames; scan where no scan runs"),
                button("Stop", "stop_clicked", "can_stop", "Judge no more frames; the scan goes on"),
                button(
                    bound("model.freeze.value"),
                    "freeze_clicked",
                    "can_stop",
                    "Keep the flags and the list as they are while the scan goes on",
                ),
                ui.create_stretch(),
                spacing=8,
            ),
            said("State", "state"),
            text("reason"),
            text("flags_title"),
            text("notes"),
            said("Latency", "latency", tool_tip="From the last row of a frame to its flags"),
            said(
                "Frames",
                "frames",
                word_wrap=True,
                width=_COUNTS_WIDTH,
                tool_tip="Whole frames scanned; frames and rows judged, replaced by newer ones, and judged too late",
            ),
            ui.create_section(ui.create_component_instance("imaged"), title="What is imaged"),
            ui.create_section(ui.create_component_instance("shown"), title="Which flags are shown"),
            said("Model", "model_name"),
            said("Engine", "engine", tool_tip=bound("model.engine_why.value")),
            text("engine_why"),
            row(
                "Scripts",
                ui.create_label(text=bound("model.scripts.value"), width=80),
                button(
                    "Stop scripts",
                    "stop_scripts_clicked",
                    "can_stop_scripts",
                    "Stops what scripts are doing at once, and takes the beam off the sample",
                ),
            ),
            ui.create_section(
                ui.create_component_instance("controls"),
                title="Names of the instrument's controls",
                expanded="names_expanded",
            ),
            ui.create_stretch(),
            spacing=4,
            margin=6,
        )
        # A scroll area is as narrow as its dock lets it be, and would hide where values come from.
        self.ui_view = ui.create_scroll_area(content, min_width=_LEAST_WIDTH)

    def create_handler(self, component_id: str, **more: Any) -> Any:
        """Make a section, as Nion asks for it."""
        return _SECTIONS[component_id](self.model)

    def start_clicked(self, widget: Any) -> None:
        """Start."""
        self._do(self._operator.start)

    def stop_clicked(self, widget: Any) -> None:
        """Stop."""
        self._do(self._operator.stop)

    def freeze_clicked(self, widget: Any) -> None:
        """Freeze, or go on."""
        self._do(self._operator.freeze)

    def stop_scripts_clicked(self, widget: Any) -> None:
        """Stop what scripts are doing."""
        self._do(self._operator.stop_scripts)

    def _do(self, act: Callable[[], None]) -> None:
        """An instrument may refuse anything; that is told where the state stands, and does not escape into the host."""
        guarded("A click in the panel", act, lambda text: put(self.model.reason, text))
