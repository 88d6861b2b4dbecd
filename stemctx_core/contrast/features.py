"""Thirty-six contrast features of a patch: Gaussian-weighted means and gradients at crystal positions.

At the site itself, at the three positions where the other sublattice stands around a metal, at the three where it
stands around a chalcogen, and at the six neighbours of the site's own sublattice. All are linear in the patch, so
their mean and covariance under any nuisance are known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numba import prange
from numpy.typing import NDArray

from stemctx_core.contrast.patches import inside_disc, sample_offsets
from stemctx_core.kernels.compiled import PARTS, compiled

#: Widths are given in Å for a lattice constant of 3.3 Å and scale with it.
_NOMINAL_A_ANGSTROM: Final = 3.3


@dataclass(frozen=True)
class _Weight:
    u: float
    v: float
    width_angstrom: float
    gradient: tuple[float, float] | None = None


def _weights() -> list[_Weight]:
    listed = [_Weight(0, 0, w) for w in (0.20, 0.35, 0.55, 0.85)]
    listed += [_Weight(0, 0, 0.45, (1, 0)), _Weight(0, 0, 0.45, (0, 1))]
    for sign in (1, -1):
        for k in range(3):
            direction = _unit(2 * np.pi * k / 3, sign)
            u, v = direction[0] / np.sqrt(3), direction[1] / np.sqrt(3)
            listed += [_Weight(u, v, 0.3), _Weight(u, v, 0.6), _Weight(u, v, 0.4, direction)]
    for k in range(6):
        u, v = _unit(np.pi / 6 + np.pi * k / 3, 1)
        listed += [_Weight(u, v, 0.3), _Weight(u, v, 0.6)]
    return listed


def _unit(angle: float, sign: int) -> tuple[float, float]:
    return sign * float(np.cos(angle)), sign * float(np.sin(angle))


@lru_cache(maxsize=1)
def projection() -> NDArray[np.float64]:
    """(FEATURES, SAMPLES) matrix from a patch to its features; level features have weights that sum to 1.

    Only samples inside the disc of `stemctx_core.contrast.patches.HALF_WIDTH` count, so that a patch needs the same room at every rotation.
    """
    offsets = sample_offsets()
    outside = ~inside_disc()
    rows = []
    for weight in _weights():
        width = weight.width_angstrom / _NOMINAL_A_ANGSTROM
        away = offsets - (weight.u, weight.v)
        gauss = np.exp(-np.sum(away**2, axis=1) / (2 * width**2))
        gauss[outside | (np.sum(away**2, axis=1) > (3.2 * width) ** 2)] = 0
        total = gauss.sum()
        if weight.gradient is not None:
            gauss = gauss * (away @ weight.gradient) / width
        rows.append(gauss / total)
    return np.stack(rows)


def features_of(discs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, FEATURES) of (n, DISC) discs, as `stemctx_core.contrast.cutting.cut_discs` gives them."""
    features = np.empty((len(discs), FEATURES), np.float32)
    _project(discs, _of_discs(), features)
    return features


@lru_cache(maxsize=1)
def _of_discs() -> NDArray[np.float32]:
    """(DISC, FEATURES) matrix from a disc to its features."""
    return np.ascontiguousarray(projection()[:, inside_disc()].T, np.float32)


@lru_cache(maxsize=1)
def lifting() -> NDArray[np.float32]:
    """(FEATURES, SAMPLES) matrix from features to the smallest patch that has them, for a graph that takes patches."""
    lifted: NDArray[np.float32] = np.linalg.pinv(projection()).T.astype(np.float32)
    return lifted


@lru_cache(maxsize=1)
def level() -> NDArray[np.float64]:
    """(FEATURES,) response of the features to a constant: 1 for a level, 0 for a gradient."""
    return np.array([0.0 if w.gradient is not None else 1.0 for w in _weights()])


FEATURES: Final = len(_weights())
#: Features at the six neighbours of the site's own sublattice, levels all.
OWN_NEIGHBOURS: Final = slice(FEATURES - 12, FEATURES)


@compiled(parallel=True)
def _project(discs, projection, out):  # type: ignore[no-untyped-def]  # numba infers types
    """Put the product of (n, samples) discs and a (samples, K) projection, float32 both, into `out`, (n, K)."""
    count = len(discs)
    for part in prange(PARTS):
        rows = slice(part * count // PARTS, (part + 1) * count // PARTS)
        if rows.stop > rows.start:
            np.dot(discs[rows], projection, out[rows])
