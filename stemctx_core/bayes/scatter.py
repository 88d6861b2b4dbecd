"""Compiled: what not knowing how large shift, jitter and amplitude scatter are adds to the log prior."""

from __future__ import annotations

import numpy as np

from stemctx_core.bayes.columns import FAST
from stemctx_core.bayes.model import MOVES, SHIFT
from stemctx_core.kernels.compiled import compiled

_nodes, _weights = np.polynomial.hermite_e.hermegauss(15)
_HERMITE = np.ascontiguousarray(np.stack([_nodes, _weights / _weights.sum()], axis=1))


@compiled(fastmath=FAST)
def scatter(site, z):  # type: ignore[no-untyped-def]
    """What not knowing the scales of shift, jitter and amplitude scatter adds to the log prior.

    n scores of standard deviation exp(u) instead of 1 are more likely by exp(-n u - (exp(-2u) - 1) Σz² / 2); this is
    averaged over u ~ N(0, known) by Gauss-Hermite quadrature.
    """
    total = 0.0
    for first, last in scatter_blocks(site):
        total += scale_known(site, last - first, np.sum(z[first:last] ** 2))[0]
    return total


@compiled(fastmath=FAST)
def scatter_blocks(site):  # type: ignore[no-untyped-def]
    """First and past-the-last score of shift, displacements and amplitudes."""
    amplitudes = max(site.amplitude_from, 0)
    return (
        (SHIFT, SHIFT + 2),
        (MOVES, MOVES + 2 * site.moving),
        (amplitudes, amplitudes + site.moving if site.amplitude_from >= 0 else 0),
    )


@compiled(fastmath=FAST)
def scale_known(site, count, square):  # type: ignore[no-untyped-def]
    """What `scatter` adds for so many scores of this sum of squares; their precision, the mean of exp(-2u)."""
    highest, total, precision = -1e300, 0.0, 0.0
    for k in range(len(_HERMITE)):
        u = site.scales[4] * _HERMITE[k, 0]
        highest = max(highest, -count * u - 0.5 * (np.exp(-2 * u) - 1) * square)
    for k in range(len(_HERMITE)):
        u = site.scales[4] * _HERMITE[k, 0]
        share = np.exp(-2 * u)
        weight = _HERMITE[k, 1] * np.exp(-count * u - 0.5 * (share - 1) * square - highest)
        total += weight
        precision += weight * share
    return highest + np.log(total), precision / total


@compiled(fastmath=FAST)
def stand_in(z, work):  # type: ignore[no-untyped-def]
    """What the precisions of `work` add to the log prior of unit precision."""
    total = 0.0
    for p in range(len(z)):
        total -= 0.5 * (work.precision[p] - 1) * z[p] * z[p]
    return total
