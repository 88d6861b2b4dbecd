"""Compiled likelihood of a patch: expected electrons at a vector of scores, and how each score moves them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemctx_core.bayes.columns import (
    FARTHEST,
    FAST,
    column_factor,
    column_place,
    fill_tables,
    mapped,
    scale_of,
)
from stemctx_core.bayes.model import BACKGROUND, GAIN, MOVES, RATIO, SHIFT, SIGMA, Site
from stemctx_core.bayes.scatter import scatter, stand_in
from stemctx_core.kernels.compiled import compiled
from stemctx_core.simulation.render import SQUARED_STEP


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


@compiled(fastmath=FAST)
def log_joint(site, patch, z, kinds, work):  # type: ignore[no-untyped-def]
    """Log of likelihood and prior of the scores, up to constants that no candidate changes; fills `work.mean`.

    The scales of the scatters are integrated out, see `scatter`.
    """
    sigma, _ = mapped(site.maps[SIGMA], z[SIGMA])
    fill_tables(site, sigma, kinds, work.table, False)
    scale, ratio, background = scale_of(site, patch, z, work.table)
    mean = work.mean
    mean[:] = background
    for j in range(len(kinds)):
        factor = scale * column_factor(site, z, j, kinds[j], ratio)
        y, x = column_place(site, z, j)
        for at in range(site.start[j], site.start[j + 1]):
            s = site.samples[at]
            squared = (site.offsets[s, 0] - y) ** 2 + (site.offsets[s, 1] - x) ** 2
            place = min(squared, FARTHEST) / SQUARED_STEP
            cell = int(place)
            entry = work.table[kinds[j], cell]
            mean[s] += factor * (entry[0] + entry[1] * (place - cell))
    return _poisson(patch, mean) + _prior(site, patch, z, scale) + scatter(site, z)


@compiled(fastmath=FAST)
def _poisson(patch, mean):  # type: ignore[no-untyped-def]
    total = 0.0
    for s in range(len(mean)):
        mean[s] = max(mean[s], 1e-7)
        total += patch.counts[s] * np.log(mean[s]) - mean[s]
    return total


@compiled(fastmath=FAST)
def _prior(site, patch, z, scale):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(site.size):
        total -= 0.5 * z[p] * z[p]
    away = (np.log(scale * patch.quantum) - patch.log_dose_told) / patch.dose_sd
    return total - 0.5 * away * away


@compiled(fastmath=FAST)
def linearise(site, patch, z, kinds, work):  # type: ignore[no-untyped-def]
    """`log_joint` with the normal prior of `work.precision`, and slopes and residuals in `work`."""
    gain, gain_slope = mapped(site.maps[GAIN], z[GAIN])
    _, background_slope = mapped(site.maps[BACKGROUND], z[BACKGROUND])
    sigma, sigma_slope = mapped(site.maps[SIGMA], z[SIGMA])
    ratio, ratio_slope = mapped(site.maps[RATIO], z[RATIO])
    fill_tables(site, sigma, kinds, work.table, True)
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
            place = min(dy * dy + dx * dx, FARTHEST) / SQUARED_STEP
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
