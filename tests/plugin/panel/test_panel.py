"""What the panel says of a result; no window is needed for it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import FlagAge, LiveState, LiveStatus
from nionswift_plugin.stemctx.window.panel_model import PanelModel, spoken_flags
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import Known, Missing, Source
from stemctx_core.results import Decision
from tests.realtime.support import context, refused, result


def test_what_is_to_be_known_of_a_frame_stands_beside_its_flags_and_goes_with_them() -> None:
    model = PanelModel()
    said = (
        "Not known (convergence: no control): averaged.",
        "Cannot be told apart at this dose: O_Se from Se2.",
    )
    told = replace(result(), warnings=said)
    model.show_result(told, ShownRule())
    assert model.notes.value == " ".join(said)
    assert model.flags_title.value.startswith(f"{len(told.where(Decision.FLAG))} flags: ")
    model.show_status(LiveStatus(LiveState.LIVE, flags=FlagAge.STALE), running=True)
    assert model.notes.value
    model.show_nothing()
    assert (model.notes.value, model.flags_title.value) == ("", "No flags")


def test_a_refused_frame_leaves_no_flags_of_the_one_before() -> None:
    model = PanelModel()
    model.show_result(result(), ShownRule())
    model.show_result(refused(), ShownRule())
    assert (model.notes.value, model.flags_title.value) == ("", "No flags")


def test_flags_that_a_rule_hides_are_counted() -> None:
    told = result(100)
    flags = len(told.where(Decision.FLAG))
    said = spoken_flags(told, ShownRule(probability=1.1))
    assert said.startswith(f"No flags; {flags} hidden")
    assert "hidden" not in spoken_flags(told, ShownRule())
    oxygen = spoken_flags(told, ShownRule(roles=frozenset({Role.OXYGEN})))
    assert "O_Se" in oxygen
    assert "V_W" not in oxygen


def test_every_count_of_frames_is_shown() -> None:
    model = PanelModel()
    model.show_status(LiveStatus(LiveState.LIVE, scanned=9, answered=7, replaced=2, dropped=1), running=True)
    assert model.frames.value == "9 scanned, 7 judged, 2 replaced, 1 late"


def test_the_engine_says_why() -> None:
    model = PanelModel()
    status = LiveStatus(LiveState.LIVE, engine="cpu; no GPU was found", model="lattice 0123", latency_ms=61.7)
    model.show_status(status, running=True)
    assert (model.engine.value, model.engine_why.value) == ("cpu", "no GPU was found")
    assert (model.model_name.value, model.latency.value) == ("lattice 0123", "62 ms")


def test_a_value_that_is_known_otherwise_cannot_be_entered() -> None:
    model = PanelModel()
    given = msgspec.structs.replace(
        context(),
        high_tension_kv=Known(80.0, Source.FRAME, "instrument.high_tension"),
        convergence_semi_angle_mrad=Known(30.0, Source.INSTRUMENT, "control ConvergenceAngle"),
        inner_mrad=Known(70.0, Source.USER, "entered in the panel"),
        outer_mrad=Missing("no control gives it"),
    )
    model.show_context(given)
    said = {name: (field.value, model.can_enter[name].value) for name, field in model.quantity.items()}
    assert said == {
        "high_tension_kv": ("80 kV (frame metadata)", False),
        "convergence_semi_angle_mrad": ("30 mrad (instrument control)", False),
        "inner_mrad": ("70 mrad (you)", True),
        "outer_mrad": ("not known: averaged over", True),
    }
    assert model.quantity_tip["outer_mrad"].value == "no control gives it"
    model.forget_context()
    assert all(entry.value for entry in model.can_enter.values())
