"""Compiled sum over which neighbours are defects.

Replacing a neighbour changes the mean by δ. At the most probable scores its exact gain in log likelihood is known; the
scores then follow it, which is taken to second order: with slopes J and Hessian H, both weighted by counting noise,
a replacement gains ½ |L⁻¹ J δ|² more (H = L Lᵀ) and two of them interact by -δ·δ' + (L⁻¹ J δ)·(L⁻¹ J δ').
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemctx_core.bayes.columns import FAST, column_factor, column_place, scale_of
from stemctx_core.bayes.laplace import products, solve_lower
from stemctx_core.bayes.model import Site
from stemctx_core.kernels.compiled import compiled
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_FARTHEST = REACH_ANGSTROM * REACH_ANGSTROM - 1e-9


class Changes(NamedTuple):
    """What each possible replacement of a neighbour would do to the present configuration.

    Attributes
    ----------
    shape
        (E, S) change of the mean over the square root of the mean.
    gain
        (E,) change of log joint with the prior odds, the scores following.
    follow
        (E, P) L⁻¹ J δ.
    coupling
        (E, E) what two changes gain beyond the sum of both.
    """

    shape: NDArray[np.float32]
    gain: NDArray[np.float64]
    follow: NDArray[np.float64]
    coupling: NDArray[np.float64]


def changes_for(site: Site) -> Changes:
    """Memory for a site's replacements."""
    entries, samples = len(site.replaced), len(site.offsets)
    return Changes(
        np.zeros((entries, samples), np.float32),
        np.zeros(entries),
        np.zeros((entries, site.size)),
        np.zeros((entries, entries)),
    )


@compiled(fastmath=FAST)
def target(site, kinds, entry):  # type: ignore[no-untyped-def]
    """What an entry makes of its column: the defect, or the host's own again where it already is that."""
    column = site.replaced[entry]
    return site.home[column] if kinds[column] == site.by[entry] else site.by[entry]


@compiled(fastmath=FAST)
def log_odds_of(site, column, kind):  # type: ignore[no-untyped-def]
    """Prior log odds of a kind against the host's own at a neighbour."""
    for e in range(len(site.replaced)):
        if site.replaced[e] == column and site.by[e] == kind:
            return site.log_odds[e]
    return 0.0


@compiled(fastmath=FAST)
def log_prior(site, kinds, forced):  # type: ignore[no-untyped-def]
    """Prior log odds of a configuration against one without defects."""
    total = 0.0
    for j in range(1, len(kinds)):
        if j != forced and kinds[j] != site.home[j]:
            total += log_odds_of(site, j, kinds[j])
    return total


@compiled(fastmath=FAST)
def weigh(site, patch, z, kinds, forced, work, factor, changes):  # type: ignore[no-untyped-def]
    """Fill `changes` after `linearise` and `curvature` at `z`; a forced column is never changed."""
    scale, ratio, _ = scale_of(site, patch, z, work.table)
    changes.shape[:, :] = 0.0
    for e in range(len(site.replaced)):
        j = site.replaced[e]
        now, then = kinds[j], target(site, kinds, e)
        before = scale * column_factor(site, z, j, now, ratio)
        after = scale * column_factor(site, z, j, then, ratio)
        y, x = column_place(site, z, j)
        gain = log_odds_of(site, j, then) - log_odds_of(site, j, now)
        for at in range(site.start[j], site.start[j + 1]):
            s = site.samples[at]
            squared = (site.offsets[s, 0] - y) ** 2 + (site.offsets[s, 1] - x) ** 2
            place = min(squared, _FARTHEST) / SQUARED_STEP
            cell = int(place)
            share = place - cell
            change = after * (work.table[then, cell, 0] + share * work.table[then, cell, 1])
            change -= before * (work.table[now, cell, 0] + share * work.table[now, cell, 1])
            mean = work.mean[s]
            gain += patch.counts[s] * np.log(max(1 + change / mean, 1e-9)) - change
            changes.shape[e, s] = change / np.sqrt(mean)
        changes.gain[e] = -1e9 if j == forced else gain
    products(changes.shape, work.slopes, changes.follow, False)
    products(changes.shape, changes.shape, changes.coupling, True)
    for e in range(len(site.replaced)):
        solve_lower(factor, changes.follow[e])
        changes.gain[e] += 0.5 * np.sum(changes.follow[e] ** 2)
    for e in range(len(site.replaced)):
        for f in range(e + 1):
            both = -changes.coupling[e, f] + np.sum(changes.follow[e] * changes.follow[f])
            changes.coupling[e, f] = changes.coupling[f, e] = both


@compiled(fastmath=FAST)
def draw(site, kinds, changes, uniform, drawn, follow):  # type: ignore[no-untyped-def]
    """Draw a configuration near the present one; returns the log probability of having drawn it.

    Column by column, each given those before it, with (E,) uniform random numbers. `drawn` becomes the kinds, `follow` the sum of L⁻¹ J δ.
    """
    drawn[:] = kinds
    follow[:] = 0.0
    entries = len(site.replaced)
    chosen = np.empty(entries, np.int64)
    count, log_probability, first = 0, 0.0, 0
    while first < entries:
        last = first
        while last < entries and site.replaced[last] == site.replaced[first]:
            last += 1
        weights = np.empty(last - first)
        total = 1.0
        for e in range(first, last):
            odds = changes.gain[e]
            for c in range(count):
                odds += changes.coupling[e, chosen[c]]
            weights[e - first] = np.exp(min(odds, 30.0))
            total += weights[e - first]
        left = uniform[first] * total - 1.0
        picked = -1
        for e in range(first, last):
            if left >= 0 and picked < 0:
                left -= weights[e - first]
                if left < 0:
                    picked = e
        if picked < 0:
            log_probability -= np.log(total)
        else:
            log_probability += np.log(weights[picked - first] / total)
            drawn[site.replaced[picked]] = target(site, kinds, picked)
            follow += changes.follow[picked]
            chosen[count] = picked
            count += 1
        first = last
    return log_probability
