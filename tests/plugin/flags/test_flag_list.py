"""The tab with the list of flags, on real results in Nion Swift without a window."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nion.ui import Declarative

from nionswift_plugin.stemctx.flags import actions
from nionswift_plugin.stemctx.flags.flag_list import FlagListHandler
from nionswift_plugin.stemctx.flags.flag_rows import ORDERS, in_order, rows_of
from nionswift_plugin.stemctx.flags.labels import FILE_NAME
from nionswift_plugin.stemctx.flags.marks import MOST_FIELDS, MOST_OF_A_FIELD, Mark, Marks
from nionswift_plugin.stemctx.service.passes import ShownFlag, is_whole, shown_flags
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import FrameOrigin
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.settings import Settings, SettingsFile
from sim.geometry import ScanArea
from sim.shot import shot
from stemctx_core.chemistry.classes import priors
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.results import CSV_COLUMNS, Decision
from tests.plugin.results import judged
from tests.plugin.swift import Swift, loaded, swift


@pytest.fixture
def live(tmp_path: Path, server_address: str) -> Iterator[tuple[Swift, Any, FlagListHandler]]:
    """The plug-in while it shows flags, with a list of them."""
    with swift(tmp_path) as s, loaded() as plug_in:
        s.scan.set_current_frame_parameters(s.scan.get_frame_parameters(1))
        plug_in.settings.change(msgspec.structs.replace(plug_in.remembered, address=server_address))
        plug_in.window_opened(s.window)
        handler = FlagListHandler(plug_in.feed, Settings(SettingsFile(tmp_path)), s.window)
        plug_in.start()
        s.pump(lambda: handler.rows)
        yield s, plug_in, handler
        handler.close()
        plug_in.stop()
        s.scan.abort_playing(sync_timeout=60.0)
        s.window.periodic()


def test_rows_are_sorted_by_what_is_asked_for() -> None:
    rows = rows_of(shown_flags(judged(), None, ShownRule()), passes=3)
    assert len(rows) > 3
    for order in ORDERS:
        ordered = in_order(rows, order)
        assert sorted(map(id, ordered)) == sorted(map(id, rows))
        if order != "Dose":  # of one frame it is the same everywhere
            assert in_order(rows, order, backwards=True) != ordered
    by_probability = [(-round(r.probability, 2), r.y_px, r.x_px) for r in in_order(rows, "Probability")]
    assert by_probability == sorted(by_probability), "what is shown alike keeps the order of its place"
    by_place = [(r.y_px, r.x_px) for r in in_order(rows, "Position")]
    assert by_place == sorted(by_place)
    classes = [r.species for r in in_order(rows, "Class")]
    assert len(set(classes)) == sum(a != b for a, b in zip(classes, [None, *classes], strict=False))


def test_a_row_says_what_is_known_of_a_flag() -> None:
    result = judged()
    assert result.calibration is not None
    flag = int(result.where(Decision.FLAG)[0])
    (row,) = rows_of([ShownFlag(result, flag)], passes=3)
    assert row.dose_e_per_angstrom2 == pytest.approx(3 * result.calibration.dose_e_per_angstrom2)
    assert row.entropy_nats == pytest.approx(float(result.sites.entropy_nats[flag]))
    text = row.text("✓")
    for part in ("✓", result.species(flag), f"{row.probability:.2f}", f"y {row.y_px:.1f}", "e/Å²"):
        assert part in text
    (older,) = rows_of([ShownFlag(result, flag, True)], passes=3)
    assert older.dose_e_per_angstrom2 == pytest.approx(2 * result.calibration.dose_e_per_angstrom2)
    assert "older" in older.text()


def test_a_row_says_what_the_expected_rates_did() -> None:
    result = judged()
    (species, *_) = result.flag_counts()
    expected = Expected(((species, 0.9),))
    context = msgspec.structs.replace(result.context, expected=expected)
    prior = priors(result.candidates, expected.prevalence)
    # As if these posteriors were found with so many of them expected: fewer make them less sure.
    rows = rows_of(
        shown_flags(dataclasses.replace(result, context=context, prior=prior), None, ShownRule()), passes=1
    )
    doubted = [row for row in rows if row.species == species and row.probability < 1]
    assert doubted
    assert all(row.usual_probability < row.probability for row in doubted)
    assert "by usual rates)" in min(doubted, key=lambda row: row.probability).text()
    assert not any("usual" in row.text() for row in rows_of(shown_flags(result, None, ShownRule()), passes=1))


def test_a_click_chooses_a_row(tmp_path: Path) -> None:
    """What a click changes is the selection of the list that Nion makes."""
    result = judged()
    drifted = dataclasses.replace(result, sites=dataclasses.replace(result.sites, y_px=result.sites.y_px + 0.2))
    with swift(tmp_path) as s:
        feed = LiveFeed()
        handler = FlagListHandler(feed, Settings(SettingsFile(None)), s.window)
        widget = Declarative.DeclarativeWidget(s.window.ui, s.window.event_loop, handler)
        feed.show(result, FrameOrigin("some_scan", "a", ("field",), 1, 1))
        assert not handler.can_act.value
        handler.list_box.set_selected_index(1)
        chosen = handler.rows[1]
        assert handler.chosen is chosen
        assert handler.can_act.value
        feed.show(drifted, FrameOrigin("some_scan", "a", ("field",), 2, 2))
        assert handler.chosen is not None
        assert handler.chosen.y_px == pytest.approx(chosen.y_px + 0.2)
        assert handler.list_box.selected_items == {1}
        handler.list_box.set_selected_index(0)
        assert handler.chosen is handler.rows[0]
        widget.close()


def test_the_list_follows_the_screen_and_the_choice_follows_its_site(
    live: tuple[Swift, Any, FlagListHandler],
) -> None:
    s, plug_in, handler = live
    assert handler.texts.value == [row.text() for row in handler.rows]
    assert handler.title.value.startswith(f"{len(handler.rows)} flags")
    assert handler.chosen is None
    assert not handler.can_act.value
    handler.row_chosen(None, 0)
    chosen = handler.chosen
    assert chosen is not None
    assert handler.can_act.value
    assert chosen.species in handler.species.value
    shown = plug_in.feed.result
    s.pump(lambda: plug_in.feed.result is not shown)
    again = handler.chosen
    assert again is not None
    assert again.is_at(chosen.y_px, chosen.x_px)
    handler.order.value = list(ORDERS).index("Position")
    places = [(row.y_px, row.x_px) for row in handler.rows]
    assert places == sorted(places)
    assert handler.chosen is not None


def test_the_rule_of_what_is_shown_is_that_of_the_list(live: tuple[Swift, Any, FlagListHandler]) -> None:
    s, plug_in, handler = live
    s.hold(plug_in)
    count = len(handler.rows)
    plug_in.feed.use(ShownRule(probability=2.0))
    assert handler.rows == []
    assert "not shown" in handler.title.value
    plug_in.feed.use(ShownRule())
    assert len(handler.rows) == count


def test_a_flag_is_centred_and_looked_at_closer(live: tuple[Swift, Any, FlagListHandler]) -> None:
    """Where the defect lies in the next frame is what proves every sign."""
    s, plug_in, handler = live
    s.scan.abort_playing(sync_timeout=60.0)
    p = s.scan.get_current_frame_parameters()
    p.rotation_rad, p.center_nm = 0.4, (2.0, -3.0)
    s.scan.set_current_frame_parameters(p)
    plug_in.start()
    old = plug_in.feed.result
    s.pump(
        lambda: handler.rows and plug_in.feed.result is not old and plug_in.feed.origin.field[2] == -3.0,
    )
    s.hold(plug_in)
    handler.row_chosen(None, 0)
    chosen = handler.chosen
    assert chosen is not None
    frame = plug_in.feed.frame_of(chosen.flag.result)
    truth = shot(frame.metadata).geometry
    assert truth is not None
    at = actions.place_nm(actions.scanned_area(frame.metadata, frame.shape), chosen.y_px, chosen.x_px)
    (expected,) = truth.to_specimen_nm(np.array([[chosen.y_px, chosen.x_px]]))
    assert math.dist(at, expected) < 0.15, "but for the drift they are the same"
    handler.smaller_clicked(None)
    assert "in the middle" in handler.said.value
    p = s.scan.get_current_frame_parameters()
    assert p.fov_nm == actions.ZOOM_NM
    assert tuple(p.center_nm) == pytest.approx(at)
    plug_in.start()
    s.pump(
        lambda: (
            plug_in.feed.result is not None
            and plug_in.feed.origin.field[4] == actions.ZOOM_NM
            and is_whole(plug_in.feed.result)  # rows that come before the middle do not show it
        ),
    )
    pixel = plug_in.feed.result.calibration.pixel_size_angstrom / 10
    middle = [
        math.hypot(r.y_px - 127.5, r.x_px - 127.5) * pixel for r in handler.rows if r.species == chosen.species
    ]
    assert min(middle) < 0.15, "the flag is not in the middle of the image"
    again = s.pump(lambda: handler.chosen)
    assert again.species == chosen.species
    assert math.hypot(again.y_px - 127.5, again.x_px - 127.5) * pixel < 0.2, "it stays chosen"


def test_the_image_is_zoomed_without_a_scan(live: tuple[Swift, Any, FlagListHandler]) -> None:
    s, plug_in, handler = live
    s.hold(plug_in)
    handler.row_chosen(None, 0)
    handler.zoom_clicked(None)
    chosen, display = handler.chosen, s.live_display()
    assert chosen is not None
    properties = display.display_properties
    assert properties["image_zoom"] == pytest.approx(5.0 / 2.5)
    assert properties["image_position"] == pytest.approx([(chosen.y_px + 0.5) / 256, (chosen.x_px + 0.5) / 256])
    handler.whole_clicked(None)
    assert s.live_display().display_properties["image_canvas_mode"] == "fit"


def test_a_subscan_around_a_flag_goes_into_the_library(live: tuple[Swift, Any, FlagListHandler]) -> None:
    s, plug_in, handler = live
    handler.row_chosen(None, 0)
    chosen = handler.chosen
    assert chosen is not None
    area = actions.scanned_area(
        plug_in.feed.frame_of(chosen.flag.result).metadata, plug_in.feed.result.frame.shape
    )
    before = set(s.document_model.data_items)
    handler.subscan_clicked(None)

    def made() -> Any:
        new = [i for i in s.document_model.data_items if i not in before and "around" in i.title]
        return new[0] if new else None

    item = s.pump(made)
    assert item.title == f"HAADF Subscan around {chosen.species}" or chosen.species in item.title
    assert item.xdata.data_shape[0] >= 128
    sub = shot(item.xdata.metadata).geometry
    assert sub is not None
    (at,) = sub.to_px(np.array([actions.place_nm(area, chosen.y_px, chosen.x_px)]))
    assert np.all(at > 0)
    assert np.all(at < np.array(item.xdata.data_shape))
    assert s.scan.is_playing, "the live scan goes on"


def test_subscans_lie_where_they_should_whatever_the_shape_and_rotation() -> None:
    """Against the geometry that the simulated scan is rendered with."""
    for shape, rotation in (((128, 256), 0.0), ((256, 128), 0.7), ((200, 200), -2.0)):
        area = ScanArea(shape, 8.0, (3.0, -2.0), rotation)
        truth = area.geometry()
        for y, x in ((30.0, 40.0), (100.0, 90.0)):
            (expected,) = truth.to_specimen_nm(np.array([[y, x]]))
            assert actions.place_nm(area, y, x) == pytest.approx(tuple(expected))


def test_labels_are_kept_and_marked(live: tuple[Swift, Any, FlagListHandler], tmp_path: Path) -> None:
    s, plug_in, handler = live
    s.hold(plug_in)
    path = tmp_path / FILE_NAME
    given = []

    def marks() -> list[str]:
        first = [text.split()[0] for text in handler.texts.value[:3]]
        return [mark for mark in first if mark in "✓✗→"]

    for n, click in enumerate((handler.accept_clicked, handler.reject_clicked, handler.relabel_clicked)):
        handler.row_chosen(None, n)
        chosen = handler.chosen
        assert chosen is not None
        handler.species_index.value = len(handler.species.value) - 1
        given.append((chosen, handler.species.value))
        click(None)
        s.pump(lambda n=n: path.exists() and len(hand_labels.read(path).labels) == n + 1)
        s.pump(lambda n=n: marks() == ["✓", "✗", "→"][: n + 1])  # kept first, then marked
        assert handler.said.value.startswith("Kept")
    labels = hand_labels.read(path).labels
    assert [label.judgement for label in labels] == list(Judgement)
    for label, (row, species) in zip(labels, given, strict=True):
        assert (label.y_px, label.x_px) == pytest.approx((row.y_px, row.x_px))
        assert label.found == row.species
        assert (
            label.label
            == {"accept": row.species, "reject": species[0], "relabel": species[-1]}[label.judgement]
        )
        assert label.frame == plug_in.feed.result.frame
        assert label.model == plug_in.feed.result.model
    # Another field has none of them, and the first one still has.
    result, origin = plug_in.feed.result, plug_in.feed.origin
    plug_in.feed.show(dataclasses.replace(result), dataclasses.replace(origin, field=("another",)))
    assert [text.split()[0] for text in handler.texts.value[:3]] == [r.species for r in handler.rows[:3]]
    plug_in.feed.show(None)
    plug_in.feed.show(dataclasses.replace(result), origin)
    assert marks() == ["✓", "✗", "→"]


def test_marks_are_bounded_and_go_with_a_site_that_drifts() -> None:
    row, other = rows_of(shown_flags(judged(), None, ShownRule()), passes=1)[:2]
    kept = Marks()
    kept.add("here", Mark(row.y_px, row.x_px, Judgement.REJECT, "Se2"))
    for _ in range(50):
        row = dataclasses.replace(row, y_px=row.y_px + 0.5)
        assert kept.of("here", row) == "✗"
    kept.add("here", Mark(row.y_px, row.x_px, Judgement.ACCEPT, "vac_Se"))
    assert (kept.of("here", row), kept.of("here", other), kept.of("there", row)) == ("✓", "", "")
    for number in range(MOST_FIELDS):
        kept.add(number, Mark(row.y_px, row.x_px, Judgement.REJECT, "Se2"))
    assert kept.of("here", row) == ""
    for number in range(MOST_OF_A_FIELD):
        kept.add("full", Mark(1e3 * number, 0.0, Judgement.REJECT, "Se2"))
    assert len(kept._fields["full"]) == MOST_OF_A_FIELD


def test_every_site_is_exported(live: tuple[Swift, Any, FlagListHandler], tmp_path: Path) -> None:
    s, plug_in, handler = live
    s.hold(plug_in)
    handler._tasks.export(tmp_path / "sites.csv")
    with (tmp_path / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == len(plug_in.feed.result.sites)
    handler._tasks.guarded(lambda: handler._tasks.export(tmp_path / "nowhere" / "sites.csv"))
    assert "Choose another file" in handler.said.value


def test_what_cannot_be_done_is_said(live: tuple[Swift, Any, FlagListHandler]) -> None:
    s, plug_in, handler = live
    handler.accept_clicked(None)
    assert handler.said.value == "No flag is chosen. Choose one in the list."
    plug_in.stop()
    s.pump(lambda: not handler.rows)
    assert handler.title.value == "No flags"
    handler.snapshot_clicked(None)
    assert "nothing to keep" in handler.said.value
    handler._tasks.guarded(lambda: handler._tasks.export(Path("x.csv")))
    assert "nothing to export" in handler.said.value


def test_a_snapshot_is_shown_in_the_library(live: tuple[Swift, Any, FlagListHandler]) -> None:
    s, _, handler = live
    before = len(s.document_model.data_items)
    handler.snapshot_clicked(None)
    assert len(s.document_model.data_items) == before + 1
    assert "is in the library" in handler.said.value
