"""Sites that are the host's beyond doubt are called so without the network, and nothing that is said changes."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.results import FrameResult
from tests.core.fields import Field, context_of


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def judged(analyzer: FrameAnalyzer, field: Field, *, doubtful_only: bool) -> tuple[FrameResult, int]:
    """The result, and how many sites of it were ruled to be the host's alone."""
    seen = analyzer.observe(field.frame(0), context_of(), {})
    # What an analyzer does inside, with and without the network at every site.
    evidence = analyzer._maker.likelihood(seen, {}, doubtful_only=doubtful_only)
    told = evidence.log_likelihood[seen.judged]
    alike = (np.sort(told, axis=1)[:, :-1] == told.min(axis=1)[:, None]).all(axis=1)
    return analyzer.conclude(evidence, context_of(), field.identity(0)), int(alike.sum())


@pytest.mark.parametrize("dose", [1e3, 1e4, 1e5, 1e6])
def test_posteriors_are_the_same(analyzer: FrameAnalyzer, dose: float) -> None:
    field = Field(dose_e_per_angstrom2=dose)
    asked, none = judged(analyzer, field, doubtful_only=False)
    spared, sure = judged(analyzer, field, doubtful_only=True)
    assert none == 0
    assert np.abs(asked.sites.posterior - spared.sites.posterior).max() < 1e-6
    assert (asked.sites.decision == spared.sites.decision).all()
    assert asked.reasons == spared.reasons
    share = sure / np.count_nonzero(asked.sites.posterior.max(axis=1) > 0)
    print(f"{dose:g} e/Å²: {share:.0%} of the sites without the network")
    assert share < 0.02 if dose < 3e3 else share > 0.2


def test_defects_are_never_spared(analyzer: FrameAnalyzer) -> None:
    """Not a single atom less, and none that is exchanged: what stands out is asked about, however clear it is."""
    field = Field(dose_e_per_angstrom2=1e6)
    seen = analyzer.observe(field.frame(0), context_of(), {})
    told = analyzer.likelihood(seen, {})
    ruled = np.sort(told.log_likelihood, axis=1)[:, :-1]
    sure = seen.judged[(ruled[seen.judged] == ruled[seen.judged][:, :1]).all(axis=1)]
    places, columns = field.places_px(0), field.columns
    distance = np.linalg.norm(places[:, None] - seen.sites.positions_px[sure], axis=2)
    defects = np.isin(columns, [field.row(r) for r in (Role.DOPANT, Role.CHALCOGEN_VACANCY)])
    assert len(sure) > 300
    assert distance[defects].min(axis=1).min() > 4.0
