"""The panel: what the service says, what the user declares, and the list of flags."""

from __future__ import annotations

from typing import Any, Final, Protocol

from nion.swift import Panel
from nion.ui import Declarative
from nion.utils import Model

from nionswift_plugin.stemctx.status import FlagAge, LiveState, LiveStatus
from stemctx_core import materials
from stemctx_core.context import ImagingContext, Known, Quantity
from stemctx_core.results import Decision, FrameResult

PANEL_ID: Final = "stemctx-panel"
PANEL_NAME: Final = "Defect flags"

#: Quantity, its name in words, and its unit.
QUANTITIES: Final = (
    ("high_tension_kv", "High tension", "kV"),
    ("convergence_semi_angle_mrad", "Convergence", "mrad"),
    ("inner_mrad", "Inner angle", "mrad"),
    ("outer_mrad", "Outer angle", "mrad"),
)
_LISTED_FLAGS = 500
_LABEL_WIDTH = 92


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


class PanelModel:
    """Everything that the panel shows; only to be touched on the window's thread."""

    def __init__(self) -> None:
        text = Model.PropertyModel
        self.state: Any = text(LiveState.OFF.value)
        self.reason: Any = text("")
        self.model_name: Any = text("-")
        self.engine: Any = text("-")
        self.engine_tip: Any = text("")
        self.latency: Any = text("-")
        self.frames: Any = text("-")
        self.can_start: Any = Model.PropertyModel(True)
        self.can_stop: Any = Model.PropertyModel(False)
        self.scripts: Any = text(spoken_scripts(0))
        self.can_stop_scripts: Any = Model.PropertyModel(False)
        self.hosts: Any = Model.PropertyModel(list(materials.hosts()))
        self.host_index: Any = Model.PropertyModel(0)
        self.candidates: Any = text("")
        self.devices: Any = Model.PropertyModel([])
        self.device_index: Any = Model.PropertyModel(0)
        self.channels: Any = Model.PropertyModel([])
        self.channel_index: Any = Model.PropertyModel(0)
        self.quantity: dict[str, Any] = {name: text("-") for name, _, _ in QUANTITIES}
        self.quantity_tip: dict[str, Any] = {name: text("") for name, _, _ in QUANTITIES}
        self.entered: dict[str, Any] = {name: text("") for name, _, _ in QUANTITIES}
        self.flags_title: Any = text("No flags")
        self.flags: Any = Model.PropertyModel([])
        self.notes: Any = text("")

    def show_status(self, status: LiveStatus, running: bool) -> None:
        """Show state, reason, engine, latency and counts."""
        put(self.state, status.state.value)
        put(self.reason, status.reason)
        put(self.can_start, not running)
        put(self.can_stop, running)
        put(self.model_name, status.model or "-")
        name, _, why = status.engine.partition("; ")
        put(self.engine, name or "-")
        put(self.engine_tip, why)
        put(self.latency, "-" if status.latency_ms is None else f"{status.latency_ms:.0f} ms")
        put(
            self.frames,
            f"{status.scanned} scanned, {status.answered} answered, {status.replaced} replaced",
        )
        if status.flags is FlagAge.GONE:
            put(self.flags, [])
            put(self.flags_title, "No flags")
            put(self.notes, "")

    def show_scripts(self, count: int) -> None:
        """Show how many scripts have a session open."""
        put(self.scripts, spoken_scripts(count))
        put(self.can_stop_scripts, count > 0)

    def show_context(self, context: ImagingContext) -> None:
        """Show every value with its source, or why it is missing."""
        for name, _, unit in QUANTITIES:
            quantity = getattr(context, name)
            put(self.quantity[name], spoken(quantity, unit))
            put(self.quantity_tip[name], quantity.detail if isinstance(quantity, Known) else quantity.reason)

    def show_flags(self, result: FrameResult) -> None:
        """List the flags, most probable first, with what is to be known of the frame."""
        put(self.notes, " ".join(result.warnings))
        rows = flag_rows(result)
        put(self.flags, rows)
        counts = ", ".join(f"{n} {species}" for species, n in result.flag_counts().items())
        unsure = len(result.undecided())
        undecided = f"; {unsure} undecided" if unsure else ""
        put(
            self.flags_title,
            f"{len(result.where(Decision.FLAG))} flags: {counts}{undecided}"
            if rows
            else f"No flags{undecided}",
        )


def put(model: Any, value: Any) -> None:
    """Set a property only where it changes; replacing a list would lose the selection in it."""
    if model.value != value:
        model.value = value


def flag_rows(result: FrameResult) -> list[str]:
    """Species, probability and position (pixels) of each flag, one text each."""
    sites, probability = result.sites, result.sites.probability
    flags = sorted(result.where(Decision.FLAG), key=lambda i: (-float(probability[i]), int(i)))
    return [
        f"{result.species(int(i))}   p {float(probability[i]):.3f}   y {float(sites.y_px[i]):.1f}  x {float(sites.x_px[i]):.1f}"
        for i in flags[:_LISTED_FLAGS]
    ]


def spoken_scripts(count: int) -> str:
    """How many scripts have a session open, in words."""
    return f"{count} running" if count else "none running"


def spoken(quantity: Quantity, unit: str) -> str:
    """A quantity with its source, or that it is missing, in words."""
    if isinstance(quantity, Known):
        return f"{quantity.value:g} {unit} ({quantity.source.value})"
    return "not known"


class PanelHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
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


class FlagsPanel(Panel.Panel):  # type: ignore[misc]
    """The panel in a window; every window has one, so it also tells of windows that open and close."""

    def __init__(self, document_controller: Any, panel_id: str, properties: dict[str, Any]) -> None:
        super().__init__(document_controller, panel_id, PANEL_NAME)
        self._operator: Operator = properties["operator"]
        handler = PanelHandler(properties["model"], self._operator)
        self.widget = Declarative.DeclarativeWidget(
            document_controller.ui, document_controller.event_loop, handler
        )
        self._operator.window_opened(document_controller)

    def close(self) -> None:
        """Close with its window."""
        self._operator.window_closed(self.document_controller)
        super().close()
