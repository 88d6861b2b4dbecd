"""The Bayes reference: against brute force, and against itself (its entropy is its negative log likelihood)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core import metrics
from stemctx_core.bayes.knowledge import SCORES, Uncertain, unknown_in_patch
from stemctx_core.bayes.model import quantum
from stemctx_core.bayes.reference import exact_log_posterior, reference
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import Group, make_group
from stemctx_core.evaluation.scenes import benchmark_scene
from stemctx_core.simulation.library import shipped_library
from tests.core.evaluation.brute_force import brute_log_posterior

DOSES = (1e3, 1e4, 1e5, 1e6)


def group(case: int, dose: float, **nuisance: float) -> Group:
    rng = np.random.default_rng([3, case, int(dose)])
    truth = benchmark_scene(benchmark_cases()[case], dose, rng)
    truth = replace(truth, nuisance=replace(truth.nuisance, **nuisance))
    return make_group(shipped_library(), truth, 1, rng)


@pytest.mark.parametrize(("case", "nuisance"), [(100, {}), (400, {"amplitude": 0.05, "gain": 0.01})])
def test_agrees_with_brute_force(case: int, nuisance: dict[str, float]) -> None:
    patches = group(case, 300.0, **nuisance)
    brute, effective = brute_log_posterior(patches, shipped_library(), 6000, np.random.default_rng(1))
    exact = reference(patches, shipped_library(), pairs=128)
    brute, found = np.exp(brute), np.exp(exact.log_posterior)
    # Brute force is as good as its draws: one standard error of a probability is about p (1 - p) / sqrt(draws).
    known = np.where(brute > 1e-3, effective, np.inf).min(axis=1) > 300
    assert known.sum() >= 3
    assert np.abs(brute - found)[known].max() < 1e-2 + 2 / np.sqrt(300) * 0.25


def test_unknown_source_agrees_with_brute_force() -> None:
    patches = group(100, 300.0)
    known = unknown_in_patch(patches.scene)
    brute, effective = brute_log_posterior(patches, shipped_library(), 6000, np.random.default_rng(1), known)
    found = exact_log_posterior(patches, shipped_library(), known)
    sure = np.where(np.exp(brute) > 1e-3, effective, np.inf).min(axis=1) > 300
    assert sure.sum() >= 3
    assert np.abs(np.exp(brute) - np.exp(found))[sure].max() < 0.04


@pytest.mark.parametrize("dose", DOSES)
def test_its_entropy_is_its_negative_log_likelihood(dose: float) -> None:
    groups = [group(case, dose) for case in range(3, 576, 72)]
    posterior = np.exp(np.concatenate([exact_log_posterior(g, shipped_library()) for g in groups]))
    label = np.concatenate([g.label for g in groups])
    entropy, surprise = metrics.entropies_nats(posterior), metrics.surprises_nats(posterior, label)
    away = (entropy - surprise).mean() / max(np.std(entropy - surprise) / np.sqrt(len(label)), 1e-12)
    accuracy = metrics.accuracy(posterior, label)
    print(
        f"{dose:.0e} e/Å²: accuracy {accuracy:.3f}, entropy {entropy.mean():.4f} nats, off by {away:.1f} errors"
    )
    assert abs(away) < 3.5 or surprise.mean() < 1e-3
    assert accuracy > {1e3: 0.5, 1e4: 0.75, 1e5: 0.85, 1e6: 0.93}[dose]


def test_rows_are_distributions_and_repeat_exactly() -> None:
    patches = group(10, 1e4)
    first, second = (exact_log_posterior(patches, shipped_library()) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.allclose(np.exp(first).sum(axis=1), 1)


def test_an_electron_is_read_off_the_patch() -> None:
    patches = group(10, 1e4)
    found = quantum(patches.patches, patches.rendered.electrons)
    rest = patches.patches - found * patches.rendered.electrons
    assert np.ptp(rest) < 1e-5


def test_distributions_by_score() -> None:
    uniform = Uncertain(0.5, np.inf, 0.0, 1.0).at(SCORES)
    assert uniform[0] >= 0
    assert uniform[-1] <= 1
    assert uniform[len(SCORES) // 2] == pytest.approx(0.5)
    half = Uncertain(0.0, 1.0, low=0.0).at(np.random.default_rng(0).standard_normal(20000))
    assert half.min() >= 0
    assert half.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.02)
