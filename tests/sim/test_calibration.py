from __future__ import annotations

import numpy as np
import pytest

from sim.calibration import FlagCalibration, calibration
from stemctx_core.results import FrameResult
from tests.sim.test_scoring import ABSTAIN, FLAG, SPECIES, _result, _truth


def _stating(result: FrameResult, probability: list[float]) -> FrameResult:
    """The same result with these probabilities of the best candidates."""
    posterior, best = result.sites.posterior, result.sites.best
    for row, p in enumerate(probability):
        posterior[row] = (1 - p) / (len(SPECIES) - 1)
        posterior[row, best[row]] = p
    return result


def test_flags_are_compared_with_what_they_state() -> None:
    truth = _truth((100, 100, "V_W"), (100, 150, "vac_Se"), (200, 200, "W"), (250, 250, "V_W"))
    result = _stating(
        _result(
            (100, 100, "V_W", FLAG),  # right
            (100, 150, "O_Se", FLAG),  # of another species
            (200, 200, "vac_W", FLAG),  # nothing is wrong there
            (250, 250, "V_W", ABSTAIN),  # not a flag
            (5, 5, "V_W", FLAG),  # at the border
        ),
        [0.95, 0.95, 0.65, 0.5, 0.99],
    )
    told = calibration(result, truth)
    assert told.flags.sum() == 3
    assert told.right.sum() == 1
    assert told.mean_stated == pytest.approx((0.95 + 0.95 + 0.65) / 3)
    # Two flags say 0.95 and one of them is right; one says 0.65 and is wrong.
    assert told.error == pytest.approx((2 * 0.45 + 0.65) / 3)
    twice = told + told
    assert twice.error == pytest.approx(told.error)
    assert twice.flags.sum() == 6


def test_without_flags_there_is_nothing_to_say() -> None:
    told = calibration(_result(), _truth())
    assert told.error is None
    assert told.mean_stated is None
    certain = calibration(_result((100, 100, "V_W", FLAG)), _truth((100, 100, "V_W")))
    assert certain.error == 0.0
    assert np.array_equal((FlagCalibration() + certain).right, certain.right)
