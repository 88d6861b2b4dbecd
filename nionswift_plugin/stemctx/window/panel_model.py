"""Everything that the panel shows, as models that its widgets are bound to."""

from __future__ import annotations

from typing import Any, Final

from nion.utils import Model

from nionswift_plugin.stemctx.context.context_reader import ControlNames
from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES, ShownRule, shown_sites
from nionswift_plugin.stemctx.service.status import LiveState, LiveStatus
from nionswift_plugin.stemctx.window.properties import put
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.columns import METALS
from stemctx_core.context import ImagingContext, Known, Quantity, Source
from stemctx_core.look import formats
from stemctx_core.results import Decision, FrameResult

#: Quantity, its name in words, and its unit.
QUANTITIES: Final = (
    ("high_tension_kv", "High tension", "kV"),
    ("convergence_semi_angle_mrad", "Convergence", "mrad"),
    ("inner_mrad", "Inner angle", "mrad"),
    ("outer_mrad", "Outer angle", "mrad"),
)
#: First line of the list that elements are picked from.
PICK: Final = "pick"
#: Sliders move in whole steps: of probability, and of entropy (nats). The last step of entropy is no limit.
PROBABILITY_STEPS: Final = 200
ENTROPY_STEPS: Final = 100
ENTROPY_STEP_NATS: Final = 0.02
_SOURCES: Final = {
    Source.FRAME: "frame metadata",
    Source.INSTRUMENT: "instrument control",
    Source.USER: "you",
}


class PanelModel:
    """Everything that the panel shows; only to be touched on the window's thread."""

    def __init__(self) -> None:
        of = Model.PropertyModel
        self.state: Any = of(LiveState.OFF.value)
        self.reason: Any = of("")
        self.can_start: Any = of(True)
        self.can_stop: Any = of(False)
        self.freeze: Any = of(spoken_freeze(False))
        self.scripts: Any = of(spoken_scripts(0))
        self.can_stop_scripts: Any = of(False)
        self.model_name: Any = of(formats.NONE)
        self.engine: Any = of(formats.NONE)
        self.engine_why: Any = of("")
        self.latency: Any = of(formats.NONE)
        self.frames: Any = of(formats.NONE)
        self.flags_title: Any = of("No flags")
        self.notes: Any = of("")

        self.devices: Any = of([])
        self.device_index: Any = of(0)
        self.channels: Any = of([])
        self.channel_index: Any = of(0)
        self.partial_frames: Any = of(True)
        self.problem: Any = of("")
        self.host: Any = of("")
        self.hosts: Any = of([*materials.hosts(), *materials.held_out_hosts()])
        self.host_index: Any = of(0)
        self.candidates: Any = of("")
        self.expected: Any = of("")
        self.elements: Any = of([PICK, *METALS])
        self.element_index: Any = of(0)
        names = [name for name, _, _ in QUANTITIES]
        self.quantity: dict[str, Any] = {name: of(formats.NONE) for name in names}
        self.quantity_tip: dict[str, Any] = {name: of("") for name in names}
        self.entered: dict[str, Any] = {name: of("") for name in names}
        self.can_enter: dict[str, Any] = {name: of(True) for name in names}
        self.controls: dict[str, Any] = {name: of("") for name in ControlNames.__struct_fields__}

        self.probability: Any = of(0)
        self.probability_text: Any = of("")
        self.entropy: Any = of(ENTROPY_STEPS)
        self.entropy_text: Any = of("")
        self.roles: dict[str, Any] = {role.name: of(True) for role in DEFECT_ROLES}

    def show_status(self, status: LiveStatus, running: bool) -> None:
        """Show state, reason, engine, latency and counts."""
        put(self.state, status.state.value)
        put(self.reason, status.reason)
        put(self.can_start, not running)
        put(self.can_stop, running)
        put(self.model_name, status.model or formats.NONE)
        name, _, why = status.engine.partition("; ")
        put(self.engine, name or formats.NONE)
        put(self.engine_why, why)
        put(self.latency, formats.latency(status.latency_ms))
        counts = (status.scanned, status.answered, status.replaced, status.dropped)
        put(self.frames, "{} scanned, {} judged, {} replaced, {} late".format(*counts))

    def show_scripts(self, count: int) -> None:
        """Show how many scripts have a session open."""
        put(self.scripts, spoken_scripts(count))
        put(self.can_stop_scripts, count > 0)

    def show_context(self, context: ImagingContext) -> None:
        """Show every value with its source, or why it is missing; what is known otherwise cannot be entered."""
        for name, _, unit in QUANTITIES:
            quantity = getattr(context, name)
            put(self.quantity[name], spoken(quantity, unit))
            known = isinstance(quantity, Known)
            put(self.quantity_tip[name], quantity.detail if known else quantity.reason)
            put(self.can_enter[name], not known or quantity.source is Source.USER)

    def forget_context(self) -> None:
        """Nothing is known yet, such as of another scan device."""
        for name, _, _ in QUANTITIES:
            put(self.quantity[name], formats.NONE)
            put(self.quantity_tip[name], "")
            put(self.can_enter[name], True)

    def show_result(self, result: FrameResult, rule: ShownRule) -> None:
        """Show how many flags there are, and what is to be known of the frame."""
        put(self.notes, " ".join(result.warnings))
        put(self.flags_title, spoken_flags(result, rule))

    def show_nothing(self) -> None:
        """No flag is on the screen."""
        put(self.flags_title, "No flags")
        put(self.notes, "")


def spoken_scripts(count: int) -> str:
    """How many scripts have a session open, in words."""
    return f"{count} running" if count else "none running"


def spoken_freeze(frozen: bool) -> str:
    """What the button does next."""
    return "Go on" if frozen else "Freeze"


def spoken(quantity: Quantity, unit: str) -> str:
    """A quantity with its source, or that it is missing, in words."""
    if isinstance(quantity, Known):
        return f"{quantity.value:g} {unit} ({_SOURCES.get(quantity.source, quantity.source.value)})"
    return "not known: averaged over"


def spoken_flags(result: FrameResult, rule: ShownRule) -> str:
    """How many flags are shown, of which species, and what is not shown, in words."""
    names = [result.species(int(i)) for i in shown_sites(result, rule)]
    counts = sorted(((names.count(n), n) for n in set(names)), key=lambda item: (-item[0], item[1]))
    title = (
        f"{formats.count(len(names), 'flag')}: {', '.join(f'{n} {species}' for n, species in counts)}"
        if names
        else "No flags"
    )
    hidden = len(result.where(Decision.FLAG)) - len(names)
    undecided = len(result.undecided())
    return "; ".join(
        [title, *([f"{hidden} hidden"] if hidden else []), *([f"{undecided} undecided"] if undecided else [])]
    )
