"""Several frames of one field say what one frame of their dose would, and notice what changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.following.accumulate import FieldEvidence, accumulate
from stemctx_core.following.field_memory import FieldMemory
from stemctx_core.look import formats
from stemctx_core.results import Decision, FrameIdentity
from tests.core.fields import Field, context_of


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def test_frames_of_a_field_say_what_one_frame_of_their_dose_would(analyzer: FrameAnalyzer) -> None:
    field, frames = Field(side_px=512, dose_e_per_angstrom2=2e3), 8
    memory, said = FieldMemory(analyzer), []
    for number in range(frames):
        result = memory.analyze(field.frame(number), context_of(), field.identity(number))
        said.append((field.surprise(result, number), field.recall(result, number)))
        assert result.frames_accumulated == number + 1
    last = frames - 1
    together = analyzer.analyze(field.frame(last, frames * 2e3), context_of())
    once = field.surprise(together, last), field.recall(together, last)
    print("surprise, recall: frame by frame", [(round(s, 3), round(r, 3)) for s, r in said], "one frame", once)
    assert said[-1][0] < 0.6 * said[0][0]
    assert said[-1][0] < 1.3 * once[0] + 0.05
    assert said[-1][1] > said[0][1] + 0.1
    assert said[-1][1] > once[1] - 0.08


def test_the_dose_of_all_frames_stands_in_the_words_and_hides_less(analyzer: FrameAnalyzer) -> None:
    field = Field(dose_e_per_angstrom2=300.0)
    memory = FieldMemory(analyzer)
    results = [memory.analyze(field.frame(n), context_of(), field.identity(n)) for n in range(12)]
    first, last = results[0], results[-1]
    assert any("Cannot be told apart at this dose" in w for w in first.warnings)
    assert sum(map(len, last.warnings)) < sum(map(len, first.warnings))
    assert last.calibration is not None
    dose = last.calibration.dose_e_per_angstrom2
    assert dose == pytest.approx(300.0, rel=0.5)  # of one frame
    told = [r for r in last.reasons if "cannot be told apart at this dose" in r]
    assert any(formats.dose(12 * dose) in r for r in told), told


def test_a_site_that_changed_starts_anew_and_no_other_does(analyzer: FrameAnalyzer) -> None:
    field, context = Field(), context_of()
    past = None
    for number in range(4):
        seen, counts = accumulate(past, analyzer.observe(field.frame(number), context, {}))
        past = FieldEvidence.of(seen, counts, analyzer.likelihood(seen, {}))
    inside = field.inside(4, 40.0)
    full = inside[field.columns[inside] == field.row(Role.CHALCOGEN_PAIR)]
    gone = full[:: len(full) // 3][:3]
    field.columns[gone] = field.row(Role.CHALCOGEN_VACANCY)
    seen, counts = accumulate(past, analyzer.observe(field.frame(4), context, {}))
    of_site = np.zeros(len(seen.obstacle), np.int32)
    of_site[seen.judged] = counts
    places = seen.sites.positions_px
    distance = np.linalg.norm(places[:, None] - field.places_px(4)[gone], axis=2)
    assert (of_site[distance.argmin(axis=0)] == 1).all()
    far = (distance.min(axis=1) > 20) & (of_site > 0)
    # Sites that came into the frame with the drift have fewer frames too, but they stand at its border.
    middle = far & ((places > 40) & (places < field.side_px - 40)).all(axis=1)
    assert (of_site[middle] == 5).mean() > 0.995


def test_what_changed_is_flagged_in_the_next_frame(analyzer: FrameAnalyzer) -> None:
    field, memory = Field(), FieldMemory(analyzer)
    for number in range(5):
        memory.analyze(field.frame(number), context_of(), field.identity(number))
    inside = field.inside(5, 40.0)
    full = inside[field.columns[inside] == field.row(Role.CHALCOGEN_PAIR)]
    gone = full[:: len(full) // 4][:4]
    field.columns[gone] = field.row(Role.CHALCOGEN_DIVACANCY)
    result = memory.analyze(field.frame(5), context_of(), field.identity(5))
    assert np.isin(field.at(result, 5, gone), result.where(Decision.FLAG)).all()
    assert result.frames_accumulated == 6


def test_another_field_context_or_shape_starts_anew(analyzer: FrameAnalyzer) -> None:
    field, other, memory = Field(), Field(seed=5), FieldMemory(analyzer)
    for number in range(2):
        result = memory.analyze(field.frame(number), context_of(), field.identity(number))
    assert result.frames_accumulated == 2
    assert memory.analyze(other.frame(2), context_of(), field.identity(2)).frames_accumulated == 1
    assert memory.analyze(other.frame(3), context_of(), field.identity(3)).frames_accumulated == 2
    changed = context_of(("Nb",))
    assert memory.analyze(other.frame(4), changed, field.identity(4)).frames_accumulated == 1
    part = other.frame(5)[:256]
    small = FrameIdentity("small", 0, 256, part.shape)
    assert memory.analyze(part, changed, small).frames_accumulated == 1


def test_a_refused_frame_is_not_remembered(analyzer: FrameAnalyzer) -> None:
    field, memory = Field(), FieldMemory(analyzer)
    memory.analyze(field.frame(0), context_of(), field.identity(0))
    noise = np.random.default_rng(0).poisson(50.0, (320, 320)).astype(np.float32)
    assert memory.analyze(noise, context_of(), field.identity(1)).refusal is not None
    result = memory.analyze(field.frame(2), context_of(), field.identity(2))
    assert result.refusal is None
    assert result.frames_accumulated == 1


def test_conditions_that_changed_start_anew(analyzer: FrameAnalyzer) -> None:
    field, context = Field(), context_of()
    seen, counts = accumulate(None, analyzer.observe(field.frame(0), context, {}))
    past = FieldEvidence.of(seen, counts, analyzer.likelihood(seen, {}))
    new = analyzer.observe(field.frame(1), context, {})
    assert np.median(accumulate(past, new)[1]) == 2
    blurred = replace(new, calibration=replace(new.calibration, sigma_angstrom=0.7))
    assert np.median(accumulate(past, blurred)[1]) == 1
