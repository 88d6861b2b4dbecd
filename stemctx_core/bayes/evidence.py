"""Compiled evidence of every hypothesis for one patch: Laplace, then importance sampling from it."""

from __future__ import annotations

import numpy as np

from stemctx_core.bayes.columns import FAST
from stemctx_core.bayes.configurations import draw, log_prior, target, weigh
from stemctx_core.bayes.laplace import ascend, curvature, settle_scales, solve_upper
from stemctx_core.bayes.likelihood import linearise, log_joint
from stemctx_core.bayes.scatter import scatter, stand_in
from stemctx_core.kernels.compiled import compiled

_FLIPS = 8
#: Hypotheses this far below the best (nats) are not looked at closely.
_HOPELESS = 60.0
#: Further below in the first turn, which may start far off, and in the second.
_SLACK = (500.0, 50.0)


@compiled(fastmath=FAST)
def settle(  # type: ignore[no-untyped-def]
    site,
    patch,
    z,
    kinds,
    forced,
    work,
    factor,
    changes,
    best,
    slack,
):
    """Alternate ascent and the most rewarding replacement of a neighbour; returns Laplace's log evidence.

    `z` and `kinds` become the solution; `factor` and `changes` belong to it. Given up where the predicted evidence is
    below `best` by more than what is hopeless and the `slack` that predictions need.
    """
    evidence = -1e300
    for flip in range(_FLIPS + 1):
        value, log_determinant = ascend(site, patch, z, kinds, work, factor, best - _HOPELESS - slack)
        weigh(site, patch, z, kinds, forced, work, factor, changes)
        value += scatter(site, z) - stand_in(z, work)
        evidence = value + log_prior(site, kinds, forced) - 0.5 * log_determinant
        rewarding, promise = -1, 0.0
        for e in range(len(changes.gain)):
            evidence += np.log1p(np.exp(min(changes.gain[e], 40.0)))
            if rewarding < 0 or changes.gain[e] > changes.gain[rewarding]:
                rewarding = e
            promise += max(changes.gain[e], 0.0)
        if rewarding < 0 or changes.gain[rewarding] < 0.1 or flip == _FLIPS:
            break
        if evidence + promise < best - _HOPELESS:
            break
        kinds[site.replaced[rewarding]] = target(site, kinds, rewarding)
    return evidence


@compiled(fastmath=FAST)
def sample(  # type: ignore[no-untyped-def]
    site,
    patch,
    z,
    kinds,
    forced,
    work,
    factor,
    changes,
    normal,
    uniform,
):
    """Log evidence by importance sampling from the Laplace solution, and the effective share of its samples.

    Scores are drawn in pairs of opposite sign, which cancels the skewness of the posterior to first order.
    """
    size = site.size
    log_determinant = 0.0
    for p in range(size):
        log_determinant += 2 * np.log(factor[p, p])
    pairs = len(normal)
    draws = np.zeros(2 * pairs)
    noise, place, follow, drawn = np.zeros(size), np.zeros(size), np.zeros(size), kinds.copy()
    for pair in range(pairs):
        square = 0.0
        for p in range(size):
            noise[p] = normal[pair, p]
            square += noise[p] * noise[p]
        log_configuration = draw(site, kinds, changes, uniform[pair], drawn, follow)
        prior = log_prior(site, drawn, forced)
        for sign in range(2):
            for p in range(size):
                place[p] = (noise[p] if sign == 0 else -noise[p]) - follow[p]
            solve_upper(factor, place)
            for p in range(size):
                place[p] += z[p]
            value = log_joint(site, patch, place, drawn, work) + prior
            draws[2 * pair + sign] = value - log_configuration + 0.5 * square - 0.5 * log_determinant
    highest = np.max(draws)
    weights = np.exp(draws - highest)
    total = np.sum(weights)
    return highest + np.log(total / len(draws)), total * total / np.sum(weights * weights) / len(draws)


@compiled()
def solve(  # type: ignore[no-untyped-def]
    site,
    patch,
    own,
    forced,
    forced_kind,
    work,
    changes,
    best,
    scores,
    kinds,
    factors,
    evidence,
):
    """Laplace's evidence of hypotheses (own kind, forced neighbour) around sites of one sublattice.

    The first hypothesis starts from nothing, the others from its solution; then all once more from the best one's,
    with the scales of the scatters that belong to it.
    """
    for turn in range(2):
        start = 0 if turn == 0 else int(np.argmax(evidence))
        if turn == 1:
            settle_scales(site, scores[start], factors[start], work)
        for h in range(len(own)):
            z = scores[start].copy() if turn == 1 or h > 0 else np.zeros(site.size)
            kind = kinds[start].copy() if turn == 1 or h > 0 else site.home.copy()
            if forced[start] >= 0 and (turn == 1 or h > 0):
                kind[forced[start]] = site.home[forced[start]]
            kind[0] = own[h]
            if forced[h] >= 0:
                kind[forced[h]] = forced_kind[h]
            factor = np.zeros((site.size, site.size))
            found = settle(
                site,
                patch,
                z,
                kind,
                forced[h],
                work,
                factor,
                changes,
                max(best, np.max(evidence)),
                _SLACK[turn],
            )
            if found > evidence[h]:
                evidence[h] = found
                scores[h], kinds[h], factors[h] = z, kind, factor


@compiled()
def refine(  # type: ignore[no-untyped-def]
    site,
    patch,
    forced,
    work,
    changes,
    scores,
    kinds,
    factors,
    evidence,
    effective,
    chosen,
    normal,
    uniform,
):
    """Replace the evidence of chosen hypotheses by that of importance sampling, all with the same random numbers."""
    for h in range(len(chosen)):
        if not chosen[h]:
            continue
        z, kind = scores[h], kinds[h]
        linearise(site, patch, z, kind, work)
        curvature(site, work, factors[h])
        weigh(site, patch, z, kind, forced[h], work, factors[h], changes)
        evidence[h], effective[h] = sample(
            site, patch, z, kind, forced[h], work, factors[h], changes, normal, uniform
        )
