"""Amplitudes of one detector or several to the likelihood of every candidate.

The host's own columns show how amplitudes scatter, and how those of several detectors of one scan scatter together;
other columns are taken to scatter as they do, although a fainter one may do so less. Means are those of the simulation,
which are off by about 0.06 of the host's column in real frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.kernels.robust import robust_sd

#: Error of a simulated amplitude, in units of the host's column: measured on real frames of WSe2.
CLASS_ERROR: Final = 0.06
#: Standard deviations per detector that a column may be away from every candidate before it is like none.
LARGEST_DISTANCE: Final = 6.0
_TYPICAL_CORRELATION: Final = 0.4
_FEWEST: Final = 60


@dataclass(frozen=True)
class Told:
    """What amplitudes say of every site.

    Attributes
    ----------
    log_likelihood
        (n, C), zero on the other sublattice's sites.
    unlike
        (n,) whether a site is like none of the candidates.
    spread
        (detectors, 2) standard deviation of the host's own columns of each sublattice.
    separation
        (C,) distance of each candidate from the host's column of its sublattice, in spreads of that.
    """

    log_likelihood: NDArray[np.float64]
    unlike: NDArray[np.bool_]
    spread: NDArray[np.float64]
    separation: NDArray[np.float64]


def likelihood(
    relative: NDArray[np.float64],
    sublattice: NDArray[np.int8],
    judged: NDArray[np.bool_],
    candidates: Sequence[Candidate],
    means: Sequence[NDArray[np.float64]],
) -> Told:
    """Gaussian log-likelihood of every candidate.

    Parameters
    ----------
    relative
        (detectors, n) amplitudes over the host's.
    judged
        (n,) sites to measure the scatter on.
    means
        (optics, C) of each detector, over all optics that it may have.
    """
    count, n = relative.shape
    told, unlike = np.zeros((n, len(candidates))), np.zeros(n, np.bool_)
    spread, separation = np.zeros((count, 2)), np.zeros(len(candidates))
    for code, kind in enumerate(Sublattice):
        here = np.flatnonzero(sublattice == code)
        host_like = relative[:, here[judged[here]]]
        middle = np.median(host_like, axis=1)
        spread[:, code] = [_robust_sd(v) for v in host_like]
        scatter = spread[:, [code]] * _correlation(host_like) * spread[:, code]
        rows = [k for k, c in enumerate(candidates) if c.sublattice is kind]
        distance = np.zeros((len(rows), len(here)))
        for place, row in enumerate(rows):
            mean, covariance = middle, scatter
            if candidates[row].is_defect:
                mean = np.array([m[:, row].mean() for m in means])
                error = np.array([np.hypot(CLASS_ERROR, m[:, row].std()) for m in means])
                covariance = scatter + np.diag(error**2)
            separation[row] = np.sqrt((mean - middle) @ np.linalg.solve(scatter, mean - middle))
            white = np.linalg.solve(np.linalg.cholesky(covariance), relative[:, here] - mean[:, None])
            distance[place] = np.sum(white**2, axis=0)
            told[here, row] = -0.5 * distance[place] - 0.5 * np.linalg.slogdet(covariance)[1]
        unlike[here] = distance.min(axis=0) > LARGEST_DISTANCE**2 * count
    return Told(told, unlike, spread, separation)


def _correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(detectors, detectors) robust correlation of their amplitudes."""
    count = len(values)
    correlation = np.eye(count)
    for i in range(count):
        for j in range(i):
            if values.shape[1] < _FEWEST:
                found = _TYPICAL_CORRELATION
            else:
                one, other = (v / _robust_sd(v) for v in (values[i], values[j]))
                both, apart = _robust_sd(one + other) ** 2, _robust_sd(one - other) ** 2
                found = float(np.clip((both - apart) / (both + apart), 0.0, 0.95))
            correlation[i, j] = correlation[j, i] = found
    return correlation


def _robust_sd(values: NDArray[np.float64]) -> float:
    return max(robust_sd(values), 1e-6)
