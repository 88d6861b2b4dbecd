"""Of many sites only some are looked at for slow fields and scatter: nothing that counts may change by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.calibration import scatter
from stemctx_core.contrast import mean_patches
from stemctx_core.results import DECISIONS, Decision, FrameResult
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of, matched

#: Sites enough that all but every sixth is passed over for slow fields, and every second for scatter.
PLAIN = FrameRecipe(shape=(704, 704), shear=0.003, warp_angstrom=0.1, jitter_angstrom=0.03, seed=21)
FRAMES = {
    "much dose": replace(PLAIN, dose_e_per_angstrom2=1e5),
    "little dose": replace(PLAIN, dose_e_per_angstrom2=3e3),
    "contaminated": replace(PLAIN, dose_e_per_angstrom2=3e4, contamination=0.15),
}


def figures(recipe: FrameRecipe, analyzer: FrameAnalyzer) -> tuple[dict[str, tuple[float, float]], FrameResult]:
    """Accuracy, confidence less accuracy, share of flags that are right, flags a site: each with its error."""
    frame = make_frame(recipe)
    result = analyzer.analyze(frame.image, context_of(recipe))
    assert result.refusal is None
    true, told, decision = matched(frame, result)
    judged = result.sites.reason == 0
    confidence = float(result.sites.posterior.max(axis=1)[judged].mean())
    flagged = decision == DECISIONS.index(Decision.FLAG)
    right, flags = float(np.mean(true == told)), int(flagged.sum())
    of_flags = float(np.mean((true == told)[flagged]))
    n = len(true)
    return {
        "accuracy": (right, np.sqrt(right * (1 - right) / n)),
        "overconfidence": (confidence - right, np.sqrt(right * (1 - right) / n)),
        "precision": (of_flags, np.sqrt(of_flags * (1 - of_flags) / flags) + 1 / flags),
        "flags": (flags / n, np.sqrt(flags) / n),
    }, result


@pytest.mark.parametrize("name", FRAMES)
def test_figures_do_not_change_by_sites_that_are_passed_over(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, analyzer = FRAMES[name], FrameAnalyzer.shipped()
    some, result = figures(recipe, analyzer)
    monkeypatch.setattr(mean_patches, "_FITTED_SITES", 10**9)
    monkeypatch.setattr(scatter, "_SCATTERED_SITES", 10**9)
    everything, whole = figures(recipe, analyzer)
    assert len(result.sites) > 4096
    for figure, (value, _) in some.items():
        wanted, error = everything[figure]
        print(f"{figure}: {value:.4f} of some, {wanted:.4f} of all sites, error {error:.4f}")
        assert abs(value - wanted) <= error / 2
    assert np.mean(result.sites.decision != whole.sites.decision) < 3e-3
    summary, other = result.calibration, whole.calibration
    assert summary is not None
    assert other is not None
    assert summary.dose_e_per_angstrom2 == pytest.approx(other.dose_e_per_angstrom2, rel=0.06)
