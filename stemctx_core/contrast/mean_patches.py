"""The mean patches of the host's own columns, and what varies slowly over a frame taken off.

A frame holds thousands of columns that are the host's own; those that stand out of their sublattice are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.contrast.features import features_of
from stemctx_core.contrast.patches import disc_offsets
from stemctx_core.errors import CalibrationError
from stemctx_core.kernels.compiled import PARTS, alone, compiled
from stemctx_core.kernels.order import median, two_from
from stemctx_core.kernels.robust import medians, robust_sds

FEWEST_SITES: Final = 12
#: Feature that measures a site's own column: the Gaussian-weighted mean of 0.55 Å.
OWN_COLUMN: Final = 2
#: Samples of a patch this near its site (lattice constants) are fitted, those nearer than the second not for slow fields.
FIT_RADIUS: Final = 1.15
_CENTRE_RADIUS = 0.33
#: Variance of the medians over a frame, over what noise alone makes of it, from which they vary slowly. Uniform frames
#: reach 3.4; of a real one of 4 what was taken off left columns that were told apart no better.
_VARIED = 5.0
#: Patches that are changed at a time.
_CHUNK = 1024
#: Slow fields are looked at in about so many places of a frame at most, at one site in so many at most, and
#: interpolated between them.
_ANCHORS = 800
_SITES_AN_ANCHOR = 8
#: Whether there is anything to take off is seen at about so many of them: those nearby share most of their sites.
_FIRST_ANCHORS = 40
#: So many sites share the columns of a patch; where there are more than the second number, some are passed over.
_OVERLAP = 12
_FITTED_SITES = 512
#: Fewer discs are added up by one thread.
_SHARED_DISCS = 5000


@dataclass(frozen=True)
class HostMeans:
    """Mean patches of the columns that do not stand out of their sublattice, metal first.

    Attributes
    ----------
    patches
        (2, DISC) in intensity units.
    shortfall
        (2,) mean level of all columns of a sublattice over that of those.
    """

    discs: NDArray[np.float64]
    shortfall: NDArray[np.float64]


def host_means(
    discs: NDArray[np.float32], own_level: NDArray[np.float32], sublattice: NDArray[np.int8]
) -> HostMeans:
    """Mean patches of the host's columns, without copying any.

    Parameters
    ----------
    discs
        (n, DISC) whole ones, as of `stemctx_core.contrast.cutting.cut_discs`.
    own_level
        (n,) feature `OWN_COLUMN` of each.
    sublattice
        (n,) 0 metal, 1 chalcogen.

    Raises
    ------
    CalibrationError
        Too few sites.
    """
    weights, shortfall, counts = _host_like(own_level, sublattice)
    if counts.min() < FEWEST_SITES:
        raise CalibrationError(
            "too_few_sites",
            f"Only {counts.min()} whole patches on one sublattice, {FEWEST_SITES} are needed.",
            "Use a larger field of view, or wait for more rows.",
        )
    with alone(len(discs) < _SHARED_DISCS):
        sums = _weighted_sums(discs, weights, sublattice)
    return HostMeans(sums.sum(axis=0, dtype=np.float64), shortfall)


def flattened(
    discs: NDArray[np.float32],
    features: NDArray[np.float32],
    sublattice: NDArray[np.int8],
    positions_px: NDArray[np.float64],
) -> tuple[NDArray[np.float32], HostMeans]:
    """Features and mean discs of a frame when what varies slowly is taken off; other arguments and errors as of `host_means`.

    Parameters
    ----------
    features
        (n, FEATURES) of the discs as they came.
    """
    means = host_means(discs, features[:, OWN_COLUMN], sublattice)
    flat = flatten(discs, means, sublattice, positions_px)
    if flat is discs:
        return features, means
    features = features_of(flat)
    return features, host_means(flat, features[:, OWN_COLUMN], sublattice)


def flatten(
    discs: NDArray[np.float32],
    means: HostMeans,
    sublattice: NDArray[np.int8],
    positions_px: NDArray[np.float64],
    neighbours: int = 64,
) -> NDArray[np.float32]:
    """Remove slow variation of gain and background, where there is more of it than noise explains.

    Each disc without its own column is fitted with the mean patch of its sublattice and a constant; the medians of
    both over the nearest sites are the local gain and background. A uniform frame is returned as it is.

    Parameters
    ----------
    discs
        (n, DISC) whole ones.
    means
        Of them.
    positions_px
        (n, 2) their sites.
    """
    use = _around_column()
    seen = means.discs[:, use]
    levels = seen.mean(axis=1)
    # Shapes without their level are orthogonal to a constant.
    shapes = seen - levels[:, None]
    solve = np.zeros((3, discs.shape[1]), np.float32)
    solve[:2, use] = shapes / np.maximum(np.sum(shapes**2, axis=1, keepdims=True), 1e-300)
    solve[2, use] = 1 / seen.shape[1]
    count = min(neighbours, len(discs))
    every = min(max(len(discs) // _FITTED_SITES, 1), _OVERLAP // 2)
    # That there is something is seen at some of the sites.
    fewer, around = slice(None, None, every), max(1, count // every)
    anchors = np.arange(0, len(discs), max(_SITES_AN_ANCHOR, len(discs) // _ANCHORS))
    first = positions_px[anchors[:: max(1, len(anchors) // _FIRST_ANCHORS)]]
    # Of few places, all distances cost less than a tree.
    nearest = _nearest(first, np.ascontiguousarray(positions_px[fewer]), around)
    together = _gathered(_fitted(discs, every, sublattice, solve, levels), nearest)
    if not _vary(together, count):
        return discs
    nearest = cKDTree(positions_px).query(positions_px[anchors], k=count)[1].reshape(len(anchors), -1)
    smooth = medians(_gathered(_fitted(discs, 1, sublattice, solve, levels), nearest)).reshape(2, -1).T
    distance, near = cKDTree(positions_px[anchors]).query(positions_px, k=min(4, len(anchors)))
    weight = 1 / (distance.reshape(len(discs), -1) + 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    field = np.einsum("na,nak->nk", weight, smooth[near.reshape(len(discs), -1)])
    gain, shift = np.clip(field[:, 0], 0.2, 5.0), field[:, 1]
    some = discs[:: max(1, len(discs) // _ANCHORS)]
    overall = float(np.median(some))
    flat = np.empty_like(discs)
    for part in (slice(i, i + _CHUNK) for i in range(0, len(discs), _CHUNK)):
        flat[part] = (discs[part] - overall - shift[part, None]) / gain[part, None] + overall
    return flat


def _vary(together: NDArray[np.float64], count: int) -> bool:
    """Whether gain or background vary over a frame by more than noise explains.

    Parameters
    ----------
    together
        (2 × places, sites) both at sites near each place.
    count
        Sites that there are so near.
    """
    around = together.shape[1]
    # Noise is what sites near each other differ by; over the frame they differ by what varies slowly too.
    # Of few values it is found too small, by n / (n - 0.8) (Croux and Rousseeuw 1992).
    noise = medians(robust_sds(together).reshape(2, -1)) * around / max(around - 0.8, 0.2)
    # Discs overlap: about a dozen sites share their columns, so that `count` of them are count / 12 independent values,
    # and a few of those hardly more.
    alike = min((_OVERLAP - 1) / max(count - 1, 1), 1.0)
    expected = 1.57 * (1 / around + (1 - 1 / around) * alike) * noise**2
    return bool((robust_sds(medians(together).reshape(2, -1)) ** 2 > _VARIED * expected).any())


def _gathered(local: NDArray[np.float64], nearest: NDArray[np.intp]) -> NDArray[np.float64]:
    """(2 × places, sites) both rows of (2, n) values at the sites nearest to each place, (places, sites)."""
    each: NDArray[np.float64] = local[:, nearest].reshape(2 * len(nearest), -1)
    return each


@lru_cache(maxsize=1)
def _around_column() -> NDArray[np.intp]:
    """Samples of a patch that slow fields are measured by."""
    ring = np.linalg.norm(disc_offsets(), axis=1)
    return np.flatnonzero((ring > _CENTRE_RADIUS) & (ring < FIT_RADIUS))


@compiled()
def _host_like(own_level, kind):  # type: ignore[no-untyped-def]  # numba infers types
    """Sites whose own column does not stand out of its sublattice.

    Returns
    -------
    weights
        (n,) float32: one over how many there are of a sublattice, 0 of the others.
    shortfall
        (2,) mean level of all sites of a sublattice over that of those.
    counts
        (2,) sites of each.
    """
    weights, shortfall, counts = np.zeros(len(own_level), np.float32), np.zeros(2), np.zeros(2, np.int64)
    for n in range(len(kind)):
        counts[kind[n]] += 1
    for code in range(2):
        if counts[code] == 0:
            continue
        levels = own_level[kind == code]
        middle = median(levels)
        away = np.abs(levels - np.float32(middle))
        limit = 3 * max(1.4826 * median(away), 1e-12)
        total, kept, number = 0.0, 0.0, 0
        for n in range(len(kind)):
            if kind[n] == code:
                total += own_level[n]
                if abs(own_level[n] - middle) <= limit:
                    kept += own_level[n]
                    number += 1
        shortfall[code] = total / counts[code] - kept / number
        for n in range(len(kind)):
            if kind[n] == code and abs(own_level[n] - middle) <= limit:
                weights[n] = 1 / number
    return weights, shortfall, counts


@compiled(parallel=True, fastmath=True)
def _weighted_sums(discs, weights, kind):  # type: ignore[no-untyped-def]  # numba infers types
    """Sums over many discs: (PARTS, 2, samples) float32, to be added up over the first axis without losing digits.

    Parameters
    ----------
    discs
        (n, samples) float32.
    weights
        (n,) float32 of each.
    kind
        (n,) int8 which of the two sums it goes to.
    """
    count, samples = discs.shape
    sums = np.zeros((PARTS, 2, samples), np.float32)
    for part in prange(PARTS):
        for n in range(part * count // PARTS, (part + 1) * count // PARTS):
            weight, code = weights[n], kind[n]
            if weight:
                for m in range(samples):
                    sums[part, code, m] += weight * discs[n, m]
    return sums


@compiled(fastmath=True)
def _fitted(discs, every, kind, solve, levels):  # type: ignore[no-untyped-def]  # numba infers types
    """(2, m) what every so many of the discs have of their sublattice's shape, and of level beside its own.

    Parameters
    ----------
    solve
        (3, samples) float32: by which the first is had for both sublattices, and the level.
    levels
        (2,) of the sublattices.
    """
    count = -(-len(discs) // every)
    local = np.empty((2, count))
    for n in range(count):
        disc, shape, level = discs[n * every], solve[kind[n * every]], solve[2]
        seen, mean = np.float32(0), np.float32(0)
        for m in range(len(disc)):
            seen += disc[m] * shape[m]
            mean += disc[m] * level[m]
        local[0, n], local[1, n] = seen, mean - levels[kind[n * every]]
    return local


@compiled()
def _nearest(places, positions, count):  # type: ignore[no-untyped-def]  # numba infers types
    """(m, count) rows of the (n, 2) positions that are nearest to each of (m, 2) places, in the order of the rows."""
    nearest = np.empty((len(places), count), np.intp)
    distance = np.empty(len(positions), np.float32)
    for m in range(len(places)):
        for n in range(len(positions)):
            down, across = positions[n, 0] - places[m, 0], positions[n, 1] - places[m, 1]
            distance[n] = down * down + across * across
        bits = distance.view(np.int32)  # in the order of the distances, as none is below zero
        limit, found = two_from(bits, count)[0], 0
        # Those at the limit itself, of which there may be several, come last.
        for at_limit in (False, True):
            for n in range(len(positions)):
                if found < count and (bits[n] == limit if at_limit else bits[n] < limit):
                    nearest[m, found] = n
                    found += 1
    return nearest
