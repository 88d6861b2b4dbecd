"""Flags while rows arrive: of the new rows, and fainter of the frame before where the beam has not come yet."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pytest

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.overlay.markers import label, markers
from nionswift_plugin.stemctx.service.passes import (
    is_whole,
    judged_rows,
    may_yet_be_judged,
    shown_flags,
    whole_of,
)
from nionswift_plugin.stemctx.service.shown import ShownRule
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.results import Decision, FrameIdentity, FrameResult, Refusal

SHAPE = (256, 256)
ROWS = 150
EVERY = ShownRule()


@lru_cache(maxsize=1)
def two_frames() -> tuple[FrameResult, FrameResult, FrameResult]:
    """A whole frame; the first rows of the next, before which the specimen moved; and all of that one."""
    with HeadlessMicroscope(MicroscopeSettings(size=SHAPE, fov_nm=5.0)) as microscope:
        reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
        first = microscope.record()[0]
        second = microscope.record(center_nm=(0.9, 0.4))[0]
        context = reader.read(first.metadata, pixel_size_nm=(5.0 / 256, 5.0 / 256))
        images = [np.array(frame.data) for frame in (first, second)]
    analyzer = FrameAnalyzer.shipped()
    return (
        analyzer.analyze(images[0], context, FrameIdentity("1", 0, 256, SHAPE)),
        analyzer.analyze(images[1][:ROWS], context, FrameIdentity("2", 1, ROWS, SHAPE)),
        analyzer.analyze(images[1], context, FrameIdentity("2", 1, 256, SHAPE)),
    )


def places(result: FrameResult, sites: list[int]) -> set[tuple[float, float]]:
    return {(round(float(result.sites.y_px[i]), 2), round(float(result.sites.x_px[i]), 2)) for i in sites}


def test_fault_44_a_defect_that_moved_is_flagged_where_it_is_and_faintly_where_it_was() -> None:
    before, rows, _ = two_frames()
    assert before.refusal is None
    assert rows.refusal is None
    reached = judged_rows(rows)
    assert 0.7 * ROWS < reached <= ROWS
    flags = shown_flags(rows, before, EVERY)
    new, old = [f for f in flags if not f.older], [f for f in flags if f.older]
    assert new
    assert old
    assert {f.site for f in new} == set(rows.where(Decision.FLAG).tolist())
    assert all(rows.sites.y_px[f.site] < reached for f in new)
    assert all(before.sites.y_px[f.site] >= reached for f in old)
    gone = [i for i in before.where(Decision.FLAG).tolist() if before.sites.y_px[i] < reached]
    assert gone, "no defect of the first frame stood where the second was scanned again"
    drawn = markers(rows, EVERY, before)
    assert [m.older for m in drawn] == [False] * len(new) + [True] * len(old)
    at = {(round(m.y * 256 - 0.5, 2), round(m.x * 256 - 0.5, 2)) for m in drawn}
    assert at == places(rows, [f.site for f in new]) | places(before, [f.site for f in old])
    assert not at & (places(before, gone) - places(rows, [f.site for f in new]))


def test_a_whole_frame_leaves_nothing_of_what_was_before() -> None:
    before, rows, whole = two_frames()
    assert is_whole(whole)
    assert not is_whole(rows)
    assert not any(f.older for f in shown_flags(whole, before, EVERY))
    assert whole_of(whole, before) is whole
    assert whole_of(rows, before) is before
    assert whole_of(rows, None) is rows


def test_rows_without_a_frame_before_show_only_their_own() -> None:
    _, rows, _ = two_frames()
    assert [f.site for f in shown_flags(rows, None, EVERY)] == rows.where(Decision.FLAG).tolist()


def test_a_rule_holds_for_both() -> None:
    before, rows, _ = two_frames()
    assert shown_flags(rows, before, ShownRule(probability=2.0)) == ()
    roles = frozenset({before.role(int(before.where(Decision.FLAG)[0]))})
    for flag in shown_flags(rows, before, ShownRule(roles=roles)):
        assert flag.result.role(flag.site) in roles


@pytest.mark.parametrize(("rows", "yet"), [(10, True), (127, True), (128, False), (256, False)])
def test_a_refusal_of_few_rows_is_not_one_of_the_frame(rows: int, yet: bool) -> None:
    _, part, _ = two_frames()
    refused = dataclasses.replace(
        part, frame=FrameIdentity("2", 1, rows, SHAPE), refusal=Refusal("no_lattice", "no lattice", "")
    )
    assert may_yet_be_judged(refused) is yet
    assert not may_yet_be_judged(dataclasses.replace(refused, refusal=None))


def test_what_cannot_be_told_apart_is_named() -> None:
    whole, _, _ = two_frames()
    site = int(whole.where(Decision.FLAG)[0])
    own = whole.species(site)
    probability = float(whole.sites.probability[site])
    assert label(whole, site) == f"{own} {probability:.2f}"
    for named, said in (
        (f"{own} or O_Se", f"{own} {probability:.2f} or O_Se"),
        (f"{own} or O_Se or vac_Se2", f"{own} {probability:.2f} or O_Se …"),
    ):
        reason = whole.sites.reason.copy()
        reason[site] = 1
        doubtful = dataclasses.replace(
            whole,
            sites=dataclasses.replace(whole.sites, reason=reason),
            reasons=("", f"{named} cannot be told apart at this dose (20 000 e/Å²)"),
        )
        assert label(doubtful, site) == said
