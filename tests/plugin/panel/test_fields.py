"""The fields of the panel in Nion Swift without a window: built, edited, remembered for every project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nion.swift import Panel
from nion.swift.test import TestContext
from nion.ui import TestUI

from nionswift_plugin.stemctx.panel.panel import PANEL_ID
from nionswift_plugin.stemctx.service.shown import DEFECT_ROLES, ShownRule
from nionswift_plugin.stemctx.window.panel_model import ENTROPY_STEPS, PROBABILITY_STEPS
from nionswift_plugin.stemctx.window.settings import FILE_NAME, Sample
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.context import Known, Missing, Source
from stemctx_core.look.colours import ROLE_COLOURS, ROLE_WORDS
from tests.plugin.swift import Swift, loaded, swift
from tests.realtime.support import context


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for settings, which Nion's test interface lacks."""
    monkeypatch.setattr(TestUI.UserInterface, "get_configuration_location", lambda _: str(tmp_path))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Swift, Any, Any]]:
    """Nion Swift, the plug-in, and the panel in the window."""
    with swift(tmp_path) as s, loaded() as plug_in:
        info = Panel.PanelManager().get_panel_info(PANEL_ID)
        panel = Panel.PanelManager().create_panel_content(
            s.window, PANEL_ID, info[0], info[1], info[2], info[3]
        )
        try:
            s.window.periodic()
            yield s, plug_in, panel
        finally:
            panel.close()


def inside(widget: Any, kind: str) -> list[Any]:
    """Widgets of a kind, with everything that stands in them, in the order of the panel."""
    found = [widget] if type(widget).__name__ == kind else []
    return found + [w for inner in widget._contained_widgets for w in inside(inner, kind)]


def entry(panel: Any, tip: str) -> Any:
    """The line edit of the panel that this tool tip stands over."""
    found = [w for w in inside(panel.widget, "LineEditWidget") if (w.tool_tip or "").startswith(tip)]
    assert len(found) == 1
    return found[0]


def test_what_is_typed_is_used_and_what_is_wrong_is_said_until_it_is_right(
    opened: tuple[Swift, Any, Any], tmp_path: Path
) -> None:
    _, plug_in, panel = opened
    host = entry(panel, "Formula of the monolayer")
    host.editing_finished("MoTe2")
    assert plug_in.remembered.host == "MoTe2"
    assert plug_in.model.hosts.value[plug_in.model.host_index.value] == "MoTe2"
    host.editing_finished("MoTe3")
    assert "There is no host 'MoTe3'" in plug_in.model.problem.value
    assert plug_in.remembered.host == "MoTe2"
    host.editing_finished("WS2")
    assert plug_in.model.problem.value == ""
    entry(panel, "Inner angle (mrad)").editing_finished("62,5")
    assert plug_in.remembered.user == {"inner_mrad": 62.5}
    kept = json.loads((tmp_path / FILE_NAME).read_text())
    assert (kept["host"], kept["user"]) == ("WS2", {"inner_mrad": 62.5})


def test_what_is_expected_is_typed_and_kept_with_the_project(
    opened: tuple[Swift, Any, Any], tmp_path: Path
) -> None:
    _, plug_in, panel = opened
    expected = entry(panel, "How often a class or a species")
    expected.editing_finished("vac_Se=0.05; from image")
    assert plug_in.remembered.live().expected == Expected((("vac_Se", 0.05),), from_image=True)
    assert plug_in.model.expected.value == "vac_Se=0.05, from image"
    kept = json.loads((tmp_path / FILE_NAME).read_text())
    assert [sample["expected"]["rates"] for sample in kept["projects"].values()] == [[["vac_Se", 0.05]]]
    expected.editing_finished("vac_Te=0.05")
    assert "There is no species or role 'vac_Te' here" in plug_in.model.problem.value
    expected.editing_finished("")
    assert plug_in.remembered.expected == Expected()
    assert plug_in.model.problem.value == ""


def test_host_and_elements_are_picked(opened: tuple[Swift, Any, Any]) -> None:
    _, plug_in, panel = opened
    model = plug_in.model
    boxes = {tuple(box.items or ()): box for box in inside(panel.widget, "ComboBoxWidget")}
    boxes[tuple(model.hosts.value)].current_index = 2
    assert plug_in.remembered.host == model.host.value == model.hosts.value[2]
    elements = boxes[tuple(model.elements.value)]
    elements.current_index = model.elements.value.index("Nb")
    assert plug_in.remembered.dopants == ("V", "Nb")
    assert (elements.current_index, model.element_index.value) == (0, 0)
    elements.current_index = model.elements.value.index("V")
    assert model.candidates.value == "Nb"


def test_names_of_controls_are_typed_and_an_empty_field_brings_the_usual_ones_back(
    opened: tuple[Swift, Any, Any],
) -> None:
    _, plug_in, _ = opened
    usual = plug_in.remembered.controls.inner
    plug_in.model.controls["inner"].value = "My_{channel}_in,  Other"
    assert plug_in.remembered.controls.inner == ("My_{channel}_in", "Other")
    plug_in.model.controls["inner"].value = ""
    assert plug_in.remembered.controls.inner == usual
    assert plug_in.model.controls["inner"].value == ", ".join(usual)


def test_an_entry_is_disabled_where_frame_or_instrument_gives_the_value(
    opened: tuple[Swift, Any, Any],
) -> None:
    s, plug_in, panel = opened
    given = msgspec.structs.replace(
        context(),
        high_tension_kv=Known(80.0, Source.FRAME),
        convergence_semi_angle_mrad=Known(30.0, Source.INSTRUMENT),
        inner_mrad=Known(70.0, Source.USER),
        outer_mrad=Missing("no control"),
    )
    tips = ("High tension (kV)", "Convergence (mrad)", "Inner angle (mrad)", "Outer angle (mrad)")
    assert all(entry(panel, tip).enabled for tip in tips)
    plug_in.model.show_context(given)
    s.window.periodic()
    assert [entry(panel, tip).enabled for tip in tips] == [False, False, True, True]


def test_every_class_has_a_box_in_its_colour(opened: tuple[Swift, Any, Any]) -> None:
    _, plug_in, panel = opened
    boxes = {box.tool_tip: box for box in inside(panel.widget, "CheckBoxWidget")}
    assert {ROLE_WORDS[role] for role in DEFECT_ROLES} <= set(boxes)
    dots = [w.color for w in inside(panel.widget, "LabelWidget") if w.text == "\u25cf"]
    assert dots[: len(DEFECT_ROLES)] == [ROLE_COLOURS[role] for role in DEFECT_ROLES]
    boxes[ROLE_WORDS[Role.OXYGEN]].checked = False
    assert plug_in.feed.rule.roles == frozenset(DEFECT_ROLES) - {Role.OXYGEN}


def test_thresholds_are_kept_for_the_next_start(tmp_path: Path) -> None:
    with swift(tmp_path):
        with loaded() as plug_in:
            model = plug_in.model
            assert (model.probability_text.value, model.entropy_text.value) == ("any", "any")
            model.probability.value = round(0.95 * PROBABILITY_STEPS)
            model.entropy.value = 20
            model.roles[Role.OXYGEN.name].value = False
            assert (model.probability_text.value, model.entropy_text.value) == (
                "at least 0.95",
                "at most 0.4 nats",
            )
        with loaded() as plug_in:
            wanted = ShownRule(0.95, 0.4, frozenset(DEFECT_ROLES) - {Role.OXYGEN})
            assert plug_in.feed.rule == plug_in.remembered.rule == wanted
            assert not plug_in.model.roles[Role.OXYGEN.name].value
            plug_in.model.entropy.value = ENTROPY_STEPS
            assert plug_in.feed.rule.entropy_nats is None


def test_every_project_has_its_own_host_and_candidates(tmp_path: Path) -> None:
    """Fault 53, as far as the panel goes: the project is switched."""
    with swift(tmp_path) as s, loaded() as plug_in, TestContext.create_memory_context() as other:
        plug_in.window_opened(s.window)
        plug_in.model.candidates.value = "Nb, Ta"
        window = other.create_document_controller()
        plug_in.window_closed(s.window)
        plug_in.window_opened(window)
        assert plug_in.model.candidates.value == "Nb, Ta"  # a project not known yet begins with the last ones
        plug_in.model.host.value = "MoS2"
        plug_in.model.candidates.value = "Re"
        plug_in.window_closed(window)
        plug_in.window_opened(s.window)
        assert (plug_in.model.host.value, plug_in.model.candidates.value) == ("WSe2", "Nb, Ta")
        assert plug_in.remembered.live().dopants == ("Nb", "Ta")
        assert set(plug_in.remembered.projects.values()) == {
            Sample("WSe2", ("Nb", "Ta")),
            Sample("MoS2", ("Re",)),
        }
        plug_in.window_closed(s.window)
