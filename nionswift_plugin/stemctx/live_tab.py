"""The first tab of the panel: what the service says, and what the user declares."""

from __future__ import annotations

from typing import Any, Final, Protocol

from nion.ui import Declarative

from nionswift_plugin.stemctx.panel_model import QUANTITIES, PanelModel

_LABEL_WIDTH: Final = 92


class Operator(Protocol):
    """What the buttons and fields of the panel do."""

    def start(self) -> None:
        """Scan, and judge the frames."""

    def stop(self) -> None:
        """Stop judging; the scan goes on."""

    def stop_scripts(self) -> None:
        """Stop the sessions of scripts, and take the beam off the sample."""

    def window_opened(self, window: Any) -> None:
        """A window has the panel from now on."""

    def window_closed(self, window: Any) -> None:
        """A window is about to close."""


class LiveHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the panel out and passes clicks on."""

    def __init__(self, model: PanelModel, operator: Operator) -> None:
        super().__init__()
        self.model = model
        self._operator = operator
        u = Declarative.DeclarativeUI()

        def row(label: str, *widgets: Any) -> Any:
            return u.create_row(u.create_label(text=label, width=_LABEL_WIDTH), *widgets, spacing=8)

        def said(label: str, name: str, **more: Any) -> Any:
            return row(label, u.create_label(text=f"@binding(model.{name}.value)", **more), u.create_stretch())

        def combo(label: str, items: str, index: str) -> Any:
            box = u.create_combo_box(
                items_ref=f"@binding(model.{items}.value)",
                current_index=f"@binding(model.{index}.value)",
                min_width=150,
            )
            return row(label, box, u.create_stretch())

        entries = []
        for name, label, unit in QUANTITIES:
            # Bindings go by attribute.
            setattr(self, f"{name}_text", model.quantity[name])
            setattr(self, f"{name}_tip", model.quantity_tip[name])
            setattr(self, f"{name}_entry", model.entered[name])
            entry = u.create_line_edit(
                text=f"@binding({name}_entry.value)",
                placeholder_text=unit,
                width=52,
                tool_tip=f"{label} ({unit}) to use where neither frame nor instrument gives it",
            )
            value = u.create_label(text=f"@binding({name}_text.value)", tool_tip=f"@binding({name}_tip.value)")
            entries.append(row(label, entry, value, u.create_stretch()))
        self.ui_view = u.create_column(
            row(
                "State",
                u.create_label(text="@binding(model.state.value)", width=80),
                u.create_push_button(
                    text="Start", on_clicked="start_clicked", enabled="@binding(model.can_start.value)"
                ),
                u.create_push_button(
                    text="Stop", on_clicked="stop_clicked", enabled="@binding(model.can_stop.value)"
                ),
                u.create_stretch(),
            ),
            u.create_label(text="@binding(model.reason.value)", word_wrap=True, max_width=320),
            row(
                "Scripts",
                u.create_label(text="@binding(model.scripts.value)", width=80),
                u.create_push_button(
                    text="Stop scripts",
                    on_clicked="stop_scripts_clicked",
                    enabled="@binding(model.can_stop_scripts.value)",
                    tool_tip="Stops what scripts are doing at once, and takes the beam off the sample",
                ),
                u.create_stretch(),
            ),
            combo("Scan device", "devices", "device_index"),
            combo("Channel", "channels", "channel_index"),
            combo("Host", "hosts", "host_index"),
            row(
                "Candidates",
                u.create_line_edit(
                    text="@binding(model.candidates.value)",
                    placeholder_text="such as V, Ti",
                    tool_tip="Elements looked for on the metal site",
                    width=150,
                ),
                u.create_stretch(),
            ),
            *entries,
            said("Model", "model_name"),
            said("Engine", "engine", tool_tip="@binding(model.engine_tip.value)"),
            said("Latency", "latency"),
            said("Frames", "frames"),
            u.create_label(text="@binding(model.flags_title.value)", word_wrap=True, max_width=320),
            u.create_label(text="@binding(model.notes.value)", word_wrap=True, max_width=320),
            u.create_list_box(items_ref="@binding(model.flags.value)", min_height=80, min_width=280),
            spacing=4,
            margin=6,
        )

    def start_clicked(self, widget: Any) -> None:
        """Start."""
        self._operator.start()

    def stop_clicked(self, widget: Any) -> None:
        """Stop."""
        self._operator.stop()

    def stop_scripts_clicked(self, widget: Any) -> None:
        """Stop what scripts are doing."""
        self._operator.stop_scripts()
