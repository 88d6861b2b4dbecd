"""Prediction sets hold the true candidate as often as promised, on scenes that the thresholds never saw."""

from __future__ import annotations

import json
import math
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from stemctx_core.chemistry import classes
from stemctx_core.classifier.classifier import posterior_from
from stemctx_core.contrast.features import projection
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group
from stemctx_core.errors import BundleError, InputError
from stemctx_core.judging.conformal import COVERAGES, ConformalSets, fit_conformal, more_probable
from stemctx_core.judging.verdict import site_prior
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.training.conformal_fit import HeldOut, fit_card

DOSES = (1e3, 1e4, 1e5, 1e6)
SCENES = 24
REPEATS = 12


def held_out(dose: float, seed: int) -> HeldOut:
    """A scene judged by the Gaussian likelihood alone, which claims too much at high dose: the promise must hold."""
    rng = np.random.default_rng([seed, int(dose)])
    case = benchmark_cases()[rng.integers(576)]
    optics = Optics(case.high_tension_kv, 30.0, case.inner_mrad, case.outer_mrad, rng.uniform(0.35, 0.55))
    listed = classes.candidates(case.host.name, case.dopants)
    truth = Scene(case.host, listed, optics, dose, rng.uniform(0, 0.06), 1.0, Nuisance())
    group = make_group(shipped_library(), truth, REPEATS, rng)
    features = group.patches @ projection().T.astype(np.float32)
    white = np.einsum("ckj,ncj->nck", group.encoded.whiten, features[:, None] - group.encoded.mean)
    likelihood = -0.5 * np.sum(white**2, axis=-1) - 0.5 * group.encoded.log_det
    return HeldOut(likelihood.astype(np.float32), group.label, listed, float(group.encoded.log_dose[0]))


@lru_cache(maxsize=2)
def samples(first_seed: int) -> tuple[HeldOut, ...]:
    return tuple(held_out(dose, first_seed + k) for dose in DOSES for k in range(SCENES))


@lru_cache(maxsize=1)
def card() -> dict:
    return {"conformal": json.loads(json.dumps(fit_card(samples(1000))))}


def prior_of(sample: HeldOut) -> NDArray[np.float64]:
    codes = np.array([list(classes.Sublattice).index(c.sublattice) for c in sample.candidates])
    return site_prior(sample.candidates, codes[sample.label])


def counted(prior: str, coverage: float, dose_row: int) -> tuple[float, float, float]:
    """Coverage, its standard error over scenes, and coverage among the unsure patches, at one dose."""
    sets = ConformalSets.from_card(card(), prior)
    held, weight, unsure = [], [], []
    for sample in samples(5000)[dose_row * SCENES : (dose_row + 1) * SCENES]:
        at_sites = prior_of(sample) if prior == "prevalence" else None
        posterior = posterior_from(sample.log_likelihood, at_sites)
        inside = sets.sets(posterior, sample.log_dose, coverage)
        rows = np.arange(len(posterior))
        held.append(inside[rows, sample.label])
        weight.append(prior_of(sample)[rows, sample.label] if prior == "prevalence" else np.ones(len(rows)))
        unsure.append(posterior.max(axis=1) < 0.9)
    covered = np.array([np.sum(h * w) for h, w in zip(held, weight, strict=True)])
    total = np.array([w.sum() for w in weight])
    mean = covered.sum() / total.sum()
    error = float(np.sqrt(np.sum((covered - mean * total) ** 2)) / total.sum())
    h, w, u = (np.concatenate(x) for x in (held, weight, unsure))
    return float(mean), error, float(np.sum(h[u] * w[u]) / w[u].sum()) if u.sum() > 200 else math.nan


@pytest.mark.parametrize("prior", ["balanced", "prevalence"])
@pytest.mark.parametrize("coverage", COVERAGES)
def test_the_promise_is_kept_at_every_dose(prior: str, coverage: float) -> None:
    for row, dose in enumerate(DOSES):
        mean, error, unsure = counted(prior, coverage, row)
        print(f"{prior} {coverage:.2f} {dose:.0e}: {mean:.4f} ± {error:.4f}, unsure patches {unsure:.4f}")
        assert mean >= coverage - 3 * error - 0.002


def test_sets_are_small_where_the_dose_is_high() -> None:
    sets = ConformalSets.from_card(card(), "balanced")
    sizes = []
    for row in range(len(DOSES)):
        mine = samples(5000)[row * SCENES : (row + 1) * SCENES]
        inside = [sets.sets(posterior_from(s.log_likelihood), s.log_dose, 0.95) for s in mine]
        sizes.append(float(np.mean([i.sum(axis=1).mean() for i in inside])))
    print("mean size at 95 %", [round(s, 3) for s in sizes])
    assert sizes[0] > sizes[1] > sizes[3]
    assert sizes[3] < 1.15


def test_doses_of_many_patches_at_once() -> None:
    sets = ConformalSets.from_card(card(), "balanced")
    first, last = samples(5000)[0], samples(5000)[-1]
    if len(first.candidates) != len(last.candidates):
        pytest.fail("the benchmark's lists are equally long")
    posterior = posterior_from(np.concatenate([first.log_likelihood, last.log_likelihood]))
    doses = np.repeat([first.log_dose, last.log_dose], [len(first.label), len(last.label)])
    apart = [sets.sets(posterior_from(s.log_likelihood), s.log_dose, 0.95) for s in (first, last)]
    assert np.array_equal(sets.sets(posterior, doses, 0.95), np.concatenate(apart))


def test_without_a_card_sets_add_up_to_the_coverage() -> None:
    sets = ConformalSets.from_card({})
    assert not sets.guaranteed
    posterior = np.array([[0.5, 0.3, 0.15, 0.05], [0.97, 0.01, 0.01, 0.01]])
    assert sets.sets(posterior, 3.0, 0.9).tolist() == [[True, True, True, False], [True, False, False, False]]
    assert np.allclose(more_probable(posterior)[0], [0, 0.5, 0.8, 0.95])


def test_a_threshold_is_the_finite_sample_quantile() -> None:
    """Nineteen patches cannot promise 99 %: every candidate is then in the set."""
    rng = np.random.default_rng(1)
    posterior = rng.dirichlet([1.0, 1.0, 1.0], 19)
    table = fit_conformal(posterior, np.zeros(19, np.int64), np.full(19, 3.0), (0.99,))
    told = ConformalSets(table).sets(posterior, 3.0, 0.99)
    busiest = np.bincount(
        np.searchsorted(table["confidence_edges"], posterior.max(axis=1), side="right")
    ).argmax()
    mine = np.searchsorted(table["confidence_edges"], posterior.max(axis=1), side="right") == busiest
    assert told[mine].all()


@pytest.mark.parametrize("broken", [{"dose_edges": [1]}, {"thresholds": 3}, {"confidence_edges": [0.5]}])
def test_a_damaged_card_is_refused(broken: dict) -> None:
    table = {**card()["conformal"]["balanced"], **broken}
    with pytest.raises(BundleError):
        ConformalSets.from_card({"conformal": {"balanced": table}}, "balanced")


def test_what_cannot_be_fitted_is_said() -> None:
    posterior = np.full((4, 2), 0.5)
    with pytest.raises(InputError, match="as many labels"):
        fit_conformal(posterior, np.zeros(3, np.int64), np.zeros(4))
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_conformal(posterior, np.zeros(4, np.int64), np.zeros(4), (1.0,))
