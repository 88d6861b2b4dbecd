"""Poisson numbers of the compiled kernel against their exact distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stemctx_core.dataset.counting import TABLE_LIMIT, poisson, stream, uniform
from stemctx_core.kernels.compiled import compiled

_DRAWS = 200_000


@compiled()
def poisson_numbers(mean, seed):  # type: ignore[no-untyped-def]
    """One Poisson number for each mean of a one-dimensional array, as float32, from stream 0 of a seed."""
    state = stream(seed, 0)
    counts = np.empty(len(mean), np.float32)
    for i in range(len(mean)):
        state, count = poisson(state, np.float64(mean[i]))
        counts[i] = count
    return counts


@pytest.mark.parametrize(
    "mean", [0.004, 0.125, 0.3, 1.0, 2.87, 6.05, 9.999, TABLE_LIMIT, 10.7, 14.2, 33.0, 210.0, 5e3, 6e4]
)
def test_counts_are_poisson(mean: float) -> None:
    counts = poisson_numbers(np.full(_DRAWS, mean), np.uint64(round(mean * 1000)))
    assert counts.mean(dtype=float) == pytest.approx(mean, abs=5 * np.sqrt(mean / _DRAWS))
    spread = np.sqrt((mean + 2 * mean**2) / _DRAWS)
    assert counts.var(dtype=float) == pytest.approx(mean, abs=5 * spread)
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], mean)
    edges = np.unique(np.linspace(low, high, 40).astype(int))
    share = np.diff(np.concatenate([[0], stats.poisson.cdf(edges, mean), [1]]))
    seen = np.histogram(counts, np.concatenate([[-1], edges + 0.5, [np.inf]]))[0]
    enough = share * _DRAWS > 8
    pooled = np.append(share[enough], share[~enough].sum())
    observed = np.append(seen[enough], seen[~enough].sum())
    kept = pooled > 0
    squared = np.sum((observed - pooled * _DRAWS)[kept] ** 2 / (pooled * _DRAWS)[kept])
    assert stats.chi2.sf(squared, kept.sum() - 1) > 1e-4


def test_deviates_of_neighbouring_samples_and_streams_are_independent() -> None:
    means = np.tile([3.3, 40.0], 50_000)
    counts = poisson_numbers(means, np.uint64(7))
    assert abs(np.corrcoef(counts[0::2], counts[1::2])[0, 1]) < 0.02
    firsts = np.array([uniform(np.uint64(stream(np.uint64(7), k)))[1] for k in range(4000)])
    assert stats.kstest(firsts, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.06


def test_no_mean_counts_nothing() -> None:
    np.testing.assert_array_equal(poisson_numbers(np.array([0.0, -1.0, np.nan]), np.uint64(1)), 0)


def test_a_seed_gives_the_same_counts() -> None:
    means = np.geomspace(0.01, 1e4, 2000)
    first, second, other = (poisson_numbers(means, np.uint64(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert (first != other).mean() > 0.5
