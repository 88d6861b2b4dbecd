"""Gain that varies slowly over a frame is taken off, and what is said of its sites is what is said without."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.contrast import mean_patches
from tests.core.fields import Field, context_of


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def ramp(size: float, side_px: int) -> NDArray[np.float32]:
    return np.linspace(1 - size, 1 + size, side_px, dtype=np.float32)


@pytest.mark.parametrize(("side_px", "dose"), [(512, 1e5), (512, 1e4), (320, 1e4)])
@pytest.mark.parametrize("size", [0.1, 0.2, 0.4])
def test_a_ramp_of_gain_costs_no_defects(
    analyzer: FrameAnalyzer, side_px: int, dose: float, size: float
) -> None:
    field = Field(side_px=side_px, dose_e_per_angstrom2=dose)
    plain = analyzer.analyze(field.frame(0), context_of(), field.identity(0))
    ramped = analyzer.analyze(field.frame(0) * ramp(size, side_px), context_of(), field.identity(0))
    assert plain.calibration is not None
    assert ramped.calibration is not None
    said = field.recall(ramped, 0), ramped.calibration.amplitude_sd
    print(f"recall {said[0]:.3f} for {field.recall(plain, 0):.3f}, columns scatter by {said[1]:.3f}")
    assert said[0] > field.recall(plain, 0) - 0.03
    # What is left of the ramp would count as scatter of the columns.
    assert said[1] < plain.calibration.amplitude_sd + 0.025


@pytest.mark.parametrize("dose", [1e3, 1e4, 1e5, 1e6])
def test_a_uniform_frame_is_left_as_it_is(
    analyzer: FrameAnalyzer, dose: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, flatten = [], mean_patches.flatten

    def watched(discs: NDArray[np.float32], *about: object) -> NDArray[np.float32]:
        flat = flatten(discs, *about)  # type: ignore[arg-type]
        left.append(flat is discs)
        return flat

    monkeypatch.setattr(mean_patches, "flatten", watched)
    for seed in range(4):
        field = Field(dose_e_per_angstrom2=dose, seed=seed)
        analyzer.analyze(field.frame(0), context_of(), field.identity(0))
    assert left == [True] * 4
