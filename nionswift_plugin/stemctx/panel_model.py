"""Everything that the panel shows, as models that its widgets are bound to."""

from __future__ import annotations

from typing import Any, Final

from nion.utils import Model

from nionswift_plugin.stemctx.status import FlagAge, LiveState, LiveStatus
from stemctx_core import materials
from stemctx_core.context import ImagingContext, Known, Quantity
from stemctx_core.results import Decision, FrameResult

#: Quantity, its name in words, and its unit.
QUANTITIES: Final = (
    ("high_tension_kv", "High tension", "kV"),
    ("convergence_semi_angle_mrad", "Convergence", "mrad"),
    ("inner_mrad", "Inner angle", "mrad"),
    ("outer_mrad", "Outer angle", "mrad"),
)
_LISTED_FLAGS = 500


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
