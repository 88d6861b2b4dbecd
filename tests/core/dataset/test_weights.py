"""Sampling of classes, and expectations at real prevalence from samples that were drawn otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.chemistry.classes import REAL_PREVALENCE, Role, Sublattice, candidates, priors
from stemctx_core.dataset.kinds import Sampling
from stemctx_core.dataset.weights import CRYSTAL_DEFECTS, class_weights, crystal_prevalence
from stemctx_core.errors import InputError

_LISTED = candidates("WSe2", ("V", "Re"), ("S",), antisites=True, complexes=True)


@pytest.mark.parametrize("sampling", list(Sampling))
def test_weighted_means_are_those_of_a_real_crystal(sampling: Sampling) -> None:
    rng = np.random.default_rng(3)
    weights = class_weights(_LISTED, sampling)
    truth = rng.random(len(_LISTED))
    expected = float(weights.prevalence @ truth)
    samples, estimates = 2000, []
    for _ in range(200):
        label = np.repeat(np.arange(len(_LISTED)), weights.counts(samples, rng))
        value = truth[label] + rng.normal(0, 0.1, len(label))
        estimates.append(np.mean(weights.weight[label] * value))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(expected, abs=5 * error)
    assert weights.sampling @ weights.weight == pytest.approx(1.0)


def test_weights_turn_balanced_accuracy_into_precision_at_prevalence() -> None:
    """A flag that is right for 99 of 100 sites of every class is still mostly wrong about what it flags."""
    weights = class_weights(candidates("WSe2", ("V",)))
    flagged = np.array([0.99 if c.is_defect else 0.01 for c in candidates("WSe2", ("V",))])
    real = np.array([c.is_defect for c in candidates("WSe2", ("V",))])
    w = weights.sampling * weights.weight
    precision = (w * flagged * real).sum() / (w * flagged).sum()
    rate = (weights.prevalence * real).sum()
    assert precision == pytest.approx(0.99 * rate / (0.99 * rate + 0.01 * (1 - rate)))


def test_prevalence_of_the_whole_list_is_half_of_each_sublattice() -> None:
    weights = class_weights(_LISTED, Sampling.PREVALENCE)
    np.testing.assert_allclose(weights.weight, 1.0)
    np.testing.assert_allclose(weights.prevalence, np.array(priors(_LISTED)) / 2)


def test_tempered_sampling_lies_between() -> None:
    balanced, real = class_weights(_LISTED), class_weights(_LISTED, Sampling.PREVALENCE)
    between = class_weights(_LISTED, Sampling.TEMPERED, 0.5)
    rarest = int(real.prevalence.argmin())
    assert real.sampling[rarest] < between.sampling[rarest] < balanced.sampling[rarest]
    np.testing.assert_allclose(class_weights(_LISTED, Sampling.TEMPERED, 0.0).sampling, balanced.sampling)
    np.testing.assert_allclose(class_weights(_LISTED, Sampling.TEMPERED, 1.0).sampling, real.sampling)
    with pytest.raises(InputError, match="power of 2"):
        class_weights(_LISTED, Sampling.TEMPERED, 2.0)


def test_counts_are_systematic() -> None:
    rng = np.random.default_rng(1)
    weights = class_weights(_LISTED, Sampling.PREVALENCE)
    counts = np.array([weights.counts(97, rng) for _ in range(4000)])
    assert (counts.sum(axis=1) == 97).all()
    assert np.abs(counts - 97 * weights.sampling).max() < 1
    np.testing.assert_allclose(counts.mean(axis=0), 97 * weights.sampling, atol=0.04)


def test_a_crystal_keeps_most_of_its_host_columns() -> None:
    assert crystal_prevalence(_LISTED, Sampling.PREVALENCE) == REAL_PREVALENCE
    for sampling in (Sampling.BALANCED, Sampling.TEMPERED):
        rates = crystal_prevalence(_LISTED, sampling)
        for sublattice in Sublattice:
            roles = {c.role for c in _LISTED if c.sublattice is sublattice and c.is_defect}
            assert sum(rates[r] for r in roles) == pytest.approx(CRYSTAL_DEFECTS)
    assert crystal_prevalence(_LISTED)[Role.DOPANT] == crystal_prevalence(_LISTED)[Role.METAL_VACANCY]
