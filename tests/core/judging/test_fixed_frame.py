"""One frame, judged as it was when its numbers were stored: work on speed must not change what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.results import DECISIONS, FrameResult
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of

#: Written by this module as a program, where what is said is meant to change or another model is shipped.
STORED = Path(__file__).parent / "data" / "fixed_frame.npz"
RECIPE = FrameRecipe(
    shape=(256, 256), dose_e_per_angstrom2=3e4, shear=0.003, warp_angstrom=0.1, jitter_angstrom=0.03, seed=12
)


def judged() -> tuple[FrameAnalyzer, FrameResult]:
    analyzer = FrameAnalyzer.shipped()
    result = analyzer.analyze(make_frame(RECIPE).image, context_of(RECIPE))
    assert result.refusal is None
    return analyzer, result


def told(result: FrameResult) -> dict[str, np.ndarray]:
    sites, summary = result.sites, result.calibration
    assert summary is not None
    return {
        "y_px": sites.y_px,
        "x_px": sites.x_px,
        "posterior": sites.posterior,
        "decision": sites.decision,
        "calibration": np.array(
            [
                summary.gain, summary.background / summary.gain, summary.sigma_angstrom,
                summary.dose_e_per_angstrom2, summary.ratio_measured, summary.amplitude_sd,
            ]
        ),
    }  # fmt: skip


def test_a_frame_is_judged_as_before() -> None:
    analyzer, result = judged()
    found = told(result)
    with np.load(STORED) as stored:
        assert str(stored["model"]) == analyzer.model_sha256, "another model: store the frame's numbers anew"
        np.testing.assert_array_equal(found["decision"], stored["decision"])
        np.testing.assert_allclose(found["posterior"], stored["posterior"], atol=5e-3)
        np.testing.assert_allclose(found["calibration"], stored["calibration"], rtol=5e-3, atol=1e-4)
        for axis in ("y_px", "x_px"):
            np.testing.assert_allclose(found[axis], stored[axis], atol=5e-3)
    assert len({DECISIONS[d] for d in found["decision"]}) > 1


if __name__ == "__main__":
    analyzer, result = judged()
    np.savez_compressed(STORED, model=analyzer.model_sha256, **told(result))
