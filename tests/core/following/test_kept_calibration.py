"""Frames of a field share a calibration while their columns look the same, and are calibrated anew where they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.following.field_memory import FieldMemory
from stemctx_core.judging.calibrated import CalibratedFrame
from stemctx_core.results import FrameResult
from tests.core import fields
from tests.core.fields import Field, context_of

FRAMES = 10


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def gains(results: list[FrameResult]) -> list[float]:
    assert all(r.calibration is not None for r in results)
    return [r.calibration.gain for r in results if r.calibration]


def followed(analyzer: FrameAnalyzer, field: Field, images: list[NDArray[np.float32]]) -> list[FrameResult]:
    memory = FieldMemory(analyzer)
    return [memory.analyze(image, context_of(), field.identity(n)) for n, image in enumerate(images)]


@pytest.mark.parametrize("dose", [1e3, 1e4, 1e5])
def test_frames_that_look_the_same_share_a_calibration_for_a_while(
    analyzer: FrameAnalyzer, dose: float
) -> None:
    field = Field(dose_e_per_angstrom2=dose)
    results = followed(analyzer, field, [field.frame(n) for n in range(FRAMES)])
    kept = gains(results)
    assert len(set(kept[:8])) == 1
    assert kept[8] != kept[0]
    assert results[-1].frames_accumulated == FRAMES


def test_what_is_said_is_what_frames_with_calibrations_of_their_own_say(
    analyzer: FrameAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = Field(side_px=512)
    images = [field.frame(n) for n in range(FRAMES)]
    kept = followed(analyzer, field, images)
    monkeypatch.setattr(CalibratedFrame, "holds", lambda *_: False)
    own = followed(analyzer, field, images)
    assert len(set(gains(own))) == FRAMES
    for number, (one, other) in enumerate(zip(kept, own, strict=True)):
        assert (one.sites.decision == other.sites.decision).mean() > 0.997, number
        assert field.recall(one, number) > field.recall(other, number) - 0.03
        assert field.surprise(one, number) < field.surprise(other, number) + 0.02


def brighter(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image * np.float32(1.03)


def offset(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image + np.float32(0.05 * np.ptp(image))


@pytest.mark.parametrize("change", [brighter, offset])
def test_another_gain_or_background_is_calibrated(
    analyzer: FrameAnalyzer, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    field = Field()
    images = [field.frame(n) for n in range(4)]
    images[2:] = [change(image) for image in images[2:]]
    said = [r.calibration for r in followed(analyzer, field, images)]
    assert all(said)
    before, after = said[1], said[2]
    assert before
    assert after
    moved = after.gain / before.gain - 1, (after.background - before.background) / before.gain
    expected = (0.03, 0.0) if change is brighter else (0.0, 0.05 * float(np.ptp(field.frame(2))) / before.gain)
    assert moved[0] == pytest.approx(expected[0], abs=0.012)
    assert moved[1] == pytest.approx(expected[1], abs=0.003)


def test_another_focus_is_calibrated(analyzer: FrameAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    field = Field()
    images = [field.frame(n) for n in range(2)]
    monkeypatch.setattr(fields, "OPTICS", replace(fields.OPTICS, sigma_angstrom=0.49))
    images += [field.frame(n) for n in range(2, 4)]
    said = [r.calibration.sigma_angstrom for r in followed(analyzer, field, images) if r.calibration]
    assert said[0] == said[1]
    assert said[2] - said[1] == pytest.approx(0.04, abs=0.012)


def test_another_field_is_calibrated_by_itself(analyzer: FrameAnalyzer) -> None:
    field, other = Field(), Field(seed=7)
    memory = FieldMemory(analyzer)
    results = [memory.analyze(field.frame(n), context_of(), field.identity(n)) for n in range(3)]
    results.append(memory.analyze(other.frame(3), context_of(), field.identity(3)))
    assert results[-1].frames_accumulated == 1
    assert memory._known is not None
    assert memory._known.frames == 1
    assert len(set(gains(results))) == 2
    assert memory._field is not None
    assert len(memory._field.counts) == len(memory._field.seen.judged)
    goes_on = memory.analyze(other.frame(4), context_of(), field.identity(4))
    assert goes_on.frames_accumulated == 2


def test_a_frame_with_slow_variation_lends_its_calibration_to_no_other(analyzer: FrameAnalyzer) -> None:
    field = Field(side_px=512, dose_e_per_angstrom2=1e5)
    ramp = np.linspace(0.6, 1.4, field.side_px, dtype=np.float32)
    results = followed(analyzer, field, [field.frame(n) * ramp for n in range(3)])
    assert len(set(gains(results))) == 3
