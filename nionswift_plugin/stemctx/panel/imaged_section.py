"""The section of what is imaged: scan device, channel, host, candidates, optics, and the names of controls."""

from __future__ import annotations

from typing import Any, Final

from nion.ui import Declarative

from nionswift_plugin.stemctx.window.layout import bound, combo, row, text, ui
from nionswift_plugin.stemctx.window.panel_model import QUANTITIES, PanelModel

_CONTROLS: Final = {
    "high_tension": "High tension",
    "convergence": "Convergence",
    "inner": "Inner angle",
    "outer": "Outer angle",
    "beam_current": "Beam current",
    "camera_length": "Camera length",
}


class ImagedHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lays the section out; its fields act by themselves, through the model."""

    def __init__(self, model: PanelModel) -> None:
        super().__init__()
        self.model = model
        self.ui_view = ui.create_column(
            row("Scan device", combo("devices", "device_index", min_width=150)),
            row("Channel", combo("channels", "channel_index", min_width=150)),
            row(
                "",
                ui.create_check_box(
                    text="Judge rows while they arrive",
                    checked=bound("model.partial_frames.value"),
                    tool_tip="Of frames that take over a second; faster ones are judged when they are whole",
                ),
            ),
            row(
                "Host",
                _entry(
                    "model.host.value",
                    "such as WSe2",
                    "Formula of the monolayer; type it, or pick it beside",
                    90,
                ),
                combo("hosts", "host_index", min_width=70),
            ),
            row(
                "Candidates",
                _entry("model.candidates.value", "such as V, Ti", "Elements looked for on the metal site", 90),
                combo(
                    "elements",
                    "element_index",
                    min_width=70,
                    tool_tip="Adds an element to the candidates, or takes it out",
                ),
            ),
            row(
                "Expected",
                _entry(
                    "model.expected.value",
                    "usual rates",
                    "How often a class or a species is met, such as vac_Se=0.03, V=0.01; 'from image' finds every "
                    "frame's own rates. Empty: the usual ones. Each flag says its probability by the usual ones too",
                    170,
                ),
            ),
            *(self._quantity(*quantity) for quantity in QUANTITIES),
            text("problem"),
            spacing=4,
        )

    def _quantity(self, name: str, label: str, unit: str) -> Any:
        # Bindings go by attribute.
        for what in ("quantity", "quantity_tip", "entered", "can_enter"):
            setattr(self, f"{name}_{what}", getattr(self.model, what)[name])
        tip = f"{label} ({unit}), where neither frame nor instrument gives it"
        return row(
            label,
            _entry(f"{name}_entered.value", unit, tip, 52, enabled=bound(f"{name}_can_enter.value")),
            ui.create_label(text=bound(f"{name}_quantity.value"), tool_tip=bound(f"{name}_quantity_tip.value")),
        )


class ControlsHandler(Declarative.Handler):  # type: ignore[misc]
    """Lays out the names under which the instrument is asked for a value."""

    def __init__(self, model: PanelModel) -> None:
        super().__init__()
        self.model = model
        rows = []
        tip = (
            "Tried in this order, in the frame's metadata and on the instrument. {channel} stands for the name of "
            "the channel. Empty the field to have the usual names back."
        )
        for name, label in _CONTROLS.items():
            setattr(self, name, model.controls[name])
            rows.append(row(label, _entry(f"{name}.value", "usual names", tip, 210)))
        self.ui_view = ui.create_column(*rows, spacing=4)


def _entry(path: str, placeholder: str, tip: str, width: int, **more: Any) -> Any:
    return ui.create_line_edit(
        text=bound(path), placeholder_text=placeholder, tool_tip=tip, width=width, **more
    )
