"""Compiled likelihood of a patch: expected electrons at a vector of scores, and how each score moves them."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stemctx_core.bayes.knowledge import SCORES
from stemctx_core.bayes.model import BACKGROUND, GAIN, MOVES, RATIO, SHIFT, SIGMA, Site
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

#: Sums may be reordered, but infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "arcp", "nsz"}
_FIRST, _SCORE_STEP, _LAST_CELL = float(SCORES[0]), float(SCORES[1] - SCORES[0]), len(SCORES) - 2
_nodes, _weights = np.polynomial.hermite_e.hermegauss(15)
_HERMITE = np.ascontiguousarray(np.stack([_nodes, _weights / _weights.sum()], axis=1))
_FARTHEST = REACH_ANGSTROM * REACH_ANGSTROM - 1e-9


class Patch(NamedTuple):
    """What is observed: counts in the disc, their quantum, and the told dose."""

    counts: NDArray[np.float64]
    quantum: float
    log_dose_told: float
    dose_sd: float


class Work(NamedTuple):
    """Memory of one patch.

    Attributes
    ----------
    table
        (C, L, 4) response at the present σ, its step to the next entry, and both of its derivative by σ.
    mean
        (S,) expected electrons.
    slopes
        (P, S) change of the mean by score, over the square root of the mean.
    residual
        (S,) counts less mean, over the square root of the mean.
    over_root
        (S,) 1 over the square root of the mean.
    precision
        (P,) of the normal distribution that stands for the prior while the mode is sought, see `scatter`.
    extra
        (P + 1,) gradient of the dose constraint's residual; the residual.
    """

    table: NDArray[np.float64]
    mean: NDArray[np.float64]
    slopes: NDArray[np.float32]
    residual: NDArray[np.float32]
    over_root: NDArray[np.float32]
    precision: NDArray[np.float64]
    extra: NDArray[np.float64]


def work_for(site: Site) -> Work:
    """Memory for patches around a site."""
    samples = len(site.offsets)
    return Work(
        np.zeros((*site.tables.shape[1:], 4)),
        np.zeros(samples),
        np.zeros((site.size, samples), np.float32),
        np.zeros(samples, np.float32),
        np.zeros(samples, np.float32),
        np.ones(site.size),
        np.zeros(site.size + 1),
    )


@numba.njit(cache=True, fastmath=FAST, inline="always")
def _mapped(values, score):  # type: ignore[no-untyped-def]
    place = (score - _FIRST) / _SCORE_STEP
    cell = min(max(int(place), 0), _LAST_CELL)
    step = values[cell + 1] - values[cell]
    share = min(max(place - cell, 0.0), 1.0)
    return values[cell] + share * step, step / _SCORE_STEP


@numba.njit(cache=True, fastmath=FAST)
def _fill_tables(site, sigma, kinds, table, slopes):  # type: ignore[no-untyped-def]
    """Lagrange interpolation over the nodes of σ, for the kinds that occur; with slopes, for those that could."""
    count = len(site.nodes)
    weight, change = np.ones(count), np.zeros(count)
    for m in range(count):
        for other in range(count):
            if other == m:
                continue
            term = 1.0 / (site.nodes[m] - site.nodes[other])
            for third in range(count):
                if third not in (m, other):
                    term *= (sigma - site.nodes[third]) / (site.nodes[m] - site.nodes[third])
            change[m] += term
            weight[m] *= (sigma - site.nodes[other]) / (site.nodes[m] - site.nodes[other])
    length = table.shape[1]
    needed = np.zeros(len(table), np.bool_)
    needed[site.hosts[0]] = needed[site.hosts[1]] = True
    for kind in kinds:
        needed[kind] = True
    if slopes:
        for kind in site.by:
            needed[kind] = True
    for c in range(len(table)):
        if not needed[c]:
            continue
        for i in range(length):
            value = 0.0
            for m in range(count):
                value += weight[m] * site.tables[m, c, i]
            table[c, i, 0] = value
        for i in range(length - 1):
            table[c, i, 1] = table[c, i + 1, 0] - table[c, i, 0]
        if slopes:
            for i in range(length):
                value = 0.0
                for m in range(count):
                    value += change[m] * site.tables[m, c, i]
                table[c, i, 2] = value
            for i in range(length - 1):
                table[c, i, 3] = table[c, i + 1, 2] - table[c, i, 2]


@numba.njit(cache=True, fastmath=FAST)
def column_factor(site, z, column, kind, ratio):  # type: ignore[no-untyped-def]
    """Amplitude of a column times the error of its response times the ratio X2/M."""
    factor = ratio if site.chalcogen[kind] else 1.0
    moved = site.moved[column]
    if site.amplitude_from >= 0 and moved >= 0:
        factor *= max(1 + site.scales[2] * z[site.amplitude_from + moved], 0.05)
    score = site.response_score[kind]
    if score >= 0:
        factor *= max(1 + site.scales[3] * z[score], 0.05)
    return factor


@numba.njit(cache=True, fastmath=FAST)
def column_place(site, z, column):  # type: ignore[no-untyped-def]
    """Where a column is (Å)."""
    y = site.positions[column, 0] + site.scales[0] * z[SHIFT]
    x = site.positions[column, 1] + site.scales[0] * z[SHIFT + 1]
    moved = site.moved[column]
    if moved >= 0:
        y += site.scales[1] * z[MOVES + 2 * moved]
        x += site.scales[1] * z[MOVES + 2 * moved + 1]
    return y, x


@numba.njit(cache=True, fastmath=FAST)
def scale_of(site, patch, z, table):  # type: ignore[no-untyped-def]
    """Electrons for a unit of response; the ratio's factor; background in electrons."""
    gain, _ = _mapped(site.maps[GAIN], z[GAIN])
    background, _ = _mapped(site.maps[BACKGROUND], z[BACKGROUND])
    ratio, _ = _mapped(site.maps[RATIO], z[RATIO])
    reference = max(table[site.hosts[0], 0, 0], ratio * table[site.hosts[1], 0, 0])
    return gain / (patch.quantum * reference), ratio, background * gain / patch.quantum


@numba.njit(cache=True, fastmath=FAST)
def log_joint(site, patch, z, kinds, work):  # type: ignore[no-untyped-def]
    """Log of likelihood and prior of the scores, up to constants that no candidate changes; fills `work.mean`.

    The scales of the scatters are integrated out, see `_scatter`.
    """
    sigma, _ = _mapped(site.maps[SIGMA], z[SIGMA])
    _fill_tables(site, sigma, kinds, work.table, False)
    scale, ratio, background = scale_of(site, patch, z, work.table)
    mean = work.mean
    mean[:] = background
    for j in range(len(kinds)):
        factor = scale * column_factor(site, z, j, kinds[j], ratio)
        y, x = column_place(site, z, j)
        for at in range(site.start[j], site.start[j + 1]):
            s = site.samples[at]
            squared = (site.offsets[s, 0] - y) ** 2 + (site.offsets[s, 1] - x) ** 2
            place = min(squared, _FARTHEST) / SQUARED_STEP
            cell = int(place)
            entry = work.table[kinds[j], cell]
            mean[s] += factor * (entry[0] + entry[1] * (place - cell))
    return _poisson(patch, mean) + _prior(site, patch, z, scale) + scatter(site, z)


@numba.njit(cache=True, fastmath=FAST)
def scatter(site, z):  # type: ignore[no-untyped-def]
    """What not knowing the scales of shift, jitter and amplitude scatter adds to the log prior.

    n scores of standard deviation exp(u) instead of 1 are more likely by exp(-n u - (exp(-2u) - 1) Σz² / 2); this is
    averaged over u ~ N(0, known) by Gauss-Hermite quadrature.
    """
    total = 0.0
    for first, last in scatter_blocks(site):
        total += scale_known(site, last - first, np.sum(z[first:last] ** 2))[0]
    return total


@numba.njit(cache=True, fastmath=FAST)
def scatter_blocks(site):  # type: ignore[no-untyped-def]
    """First and past-the-last score of shift, displacements and amplitudes."""
    amplitudes = max(site.amplitude_from, 0)
    return (
        (SHIFT, SHIFT + 2),
        (MOVES, MOVES + 2 * site.moving),
        (amplitudes, amplitudes + site.moving if site.amplitude_from >= 0 else 0),
    )


@numba.njit(cache=True, fastmath=FAST)
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


@numba.njit(cache=True, fastmath=FAST)
def stand_in(z, work):  # type: ignore[no-untyped-def]
    """What the precisions of `work` add to the log prior of unit precision."""
    total = 0.0
    for p in range(len(z)):
        total -= 0.5 * (work.precision[p] - 1) * z[p] * z[p]
    return total


@numba.njit(cache=True, fastmath=FAST)
def _poisson(patch, mean):  # type: ignore[no-untyped-def]
    total = 0.0
    for s in range(len(mean)):
        mean[s] = max(mean[s], 1e-7)
        total += patch.counts[s] * np.log(mean[s]) - mean[s]
    return total


@numba.njit(cache=True, fastmath=FAST)
def _prior(site, patch, z, scale):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(site.size):
        total -= 0.5 * z[p] * z[p]
    away = (np.log(scale * patch.quantum) - patch.log_dose_told) / patch.dose_sd
    return total - 0.5 * away * away


@numba.njit(cache=True, fastmath=FAST)
def linearise(site, patch, z, kinds, work):  # type: ignore[no-untyped-def]
    """`log_joint` with the normal prior of `work.precision`, and slopes and residuals in `work`."""
    gain, gain_slope = _mapped(site.maps[GAIN], z[GAIN])
    _, background_slope = _mapped(site.maps[BACKGROUND], z[BACKGROUND])
    sigma, sigma_slope = _mapped(site.maps[SIGMA], z[SIGMA])
    ratio, ratio_slope = _mapped(site.maps[RATIO], z[RATIO])
    _fill_tables(site, sigma, kinds, work.table, True)
    scale, _, background = scale_of(site, patch, z, work.table)
    of_chalcogen = ratio * work.table[site.hosts[1], 0, 0] > work.table[site.hosts[0], 0, 0]
    brighter = site.hosts[1] if of_chalcogen else site.hosts[0]
    reference_slope = sigma_slope * work.table[brighter, 0, 2] / work.table[brighter, 0, 0]
    shift, jitter, spread = site.scales[0], site.scales[1], site.scales[2]
    mean, slopes = work.mean, work.slopes
    mean[:] = 0.0
    slopes[:, :] = 0.0
    for j in range(len(kinds)):
        kind, moved = kinds[j], site.moved[j]
        factor = scale * column_factor(site, z, j, kind, ratio)
        y, x = column_place(site, z, j)
        score = site.response_score[kind]
        for at in range(site.start[j], site.start[j + 1]):
            s = site.samples[at]
            dy, dx = site.offsets[s, 0] - y, site.offsets[s, 1] - x
            place = min(dy * dy + dx * dx, _FARTHEST) / SQUARED_STEP
            cell = int(place)
            entry = work.table[kind, cell]
            value = factor * (entry[0] + entry[1] * (place - cell))
            mean[s] += value
            slopes[SIGMA, s] += factor * (entry[2] + entry[3] * (place - cell))
            if site.chalcogen[kind]:
                slopes[RATIO, s] += value
            inward = -2.0 * factor * entry[1] / SQUARED_STEP
            slopes[SHIFT, s] += inward * dy
            slopes[SHIFT + 1, s] += inward * dx
            if moved >= 0:
                slopes[MOVES + 2 * moved, s] = inward * dy * jitter
                slopes[MOVES + 2 * moved + 1, s] = inward * dx * jitter
                if site.amplitude_from >= 0:
                    own = max(1 + spread * z[site.amplitude_from + moved], 0.05)
                    slopes[site.amplitude_from + moved, s] = value * spread / own
            if score >= 0:
                slopes[score, s] += value * site.scales[3] / max(1 + site.scales[3] * z[score], 0.05)
    columns = mean.copy()
    for s in range(len(mean)):
        mean[s] += background
    total = _poisson(patch, mean) + _prior(site, patch, z, scale) + stand_in(z, work)
    relative_ratio = ratio_slope / ratio
    for s in range(len(mean)):
        slopes[GAIN, s] = mean[s] * gain_slope / gain
        slopes[BACKGROUND, s] = background_slope * gain / patch.quantum
        slopes[SIGMA, s] = slopes[SIGMA, s] * sigma_slope - columns[s] * reference_slope
        slopes[RATIO, s] = relative_ratio * (slopes[RATIO, s] - (columns[s] if of_chalcogen else 0.0))
    slopes[SHIFT : SHIFT + 2] *= shift
    for s in range(len(mean)):
        work.over_root[s] = 1.0 / np.sqrt(mean[s])
        work.residual[s] = (patch.counts[s] - mean[s]) / np.sqrt(mean[s])
    for p in range(site.size):
        row = slopes[p]
        for s in range(len(mean)):
            row[s] *= work.over_root[s]
    extra = work.extra
    extra[:] = 0.0
    extra[GAIN] = gain_slope / gain / patch.dose_sd
    extra[SIGMA] = -reference_slope / patch.dose_sd
    extra[RATIO] = -relative_ratio / patch.dose_sd if of_chalcogen else 0.0
    extra[site.size] = (np.log(scale * patch.quantum) - patch.log_dose_told) / patch.dose_sd
    return total
