"""What the panel says of a result; no window is needed for it."""

from __future__ import annotations

from dataclasses import replace

from nionswift_plugin.stemctx.panel_model import PanelModel
from nionswift_plugin.stemctx.status import FlagAge, LiveState, LiveStatus
from tests.realtime.support import refused, result


def test_what_is_to_be_known_of_a_frame_stands_beside_its_flags_and_goes_with_them() -> None:
    model = PanelModel()
    said = (
        "Not known (convergence: no control): averaged.",
        "Cannot be told apart at this dose: O_Se from Se2.",
    )
    told = replace(result(), warnings=said)
    model.show_flags(told)
    assert model.notes.value == " ".join(said)
    assert len(model.flags.value) == sum(told.flag_counts().values())
    model.show_status(LiveStatus(LiveState.LIVE, flags=FlagAge.STALE), running=True)
    assert model.notes.value
    model.show_status(LiveStatus(LiveState.OFF, flags=FlagAge.GONE), running=False)
    assert (model.notes.value, model.flags.value, model.flags_title.value) == ("", [], "No flags")


def test_a_refused_frame_leaves_no_flags_of_the_one_before() -> None:
    model = PanelModel()
    model.show_flags(result())
    model.show_flags(refused())
    assert (model.notes.value, model.flags.value, model.flags_title.value) == ("", [], "No flags")
