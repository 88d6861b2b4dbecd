"""The gap between two frames: how far apart they are in contrast, columns, noise and features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.comparing.distances import (
    added,
    frechet,
    kernel_distance,
    log_power_ratio,
    wasserstein,
    whitened,
)
from stemctx_core.comparing.encoders import Points, evidence, linear, scene_of
from stemctx_core.comparing.permutation import Distance, permuted
from stemctx_core.comparing.views import COLUMN, CONTRAST, FrameView
from stemctx_core.errors import InputError

_FEWEST_BLOCKS = 4


@dataclass(frozen=True)
class Gap:
    """Distances between two frames.

    Attributes
    ----------
    contrast
        Earth mover's distance of the pixels' histograms, in units of the brighter host column.
    metal, chalcogen
        The same of the columns' amplitudes over the metal's.
    noise
        Root-mean-square logarithm of the ratio of the noise spectra: 0.1 is 10 % of power.
    frechet
        Squared Fréchet distance of the whitened 36 features of the host's columns, both sublattices added.
    kernel
        Squared maximum mean discrepancy of the classifier's evidence for the same columns.
    """

    contrast: Distance
    metal: Distance
    chalcogen: Distance
    noise: Distance
    frechet: Distance
    kernel: Distance


def gap(one: FrameView, other: FrameView, seed: int = 0) -> Gap:
    """Compare two frames of one host.

    Parameters
    ----------
    other
        The measured one: the classifier is told what it says of itself.

    Raises
    ------
    InputError
        Frames of two hosts, or too small to be permuted.
    """
    if one.lattice.host.name != other.lattice.host.name:
        raise InputError(
            f"The frames are of {one.lattice.host.name} and {other.lattice.host.name}. Compare frames of one host."
        )
    rng = np.random.default_rng(seed)

    def test(first: NDArray[np.float64], second: NDArray[np.float64], width: float) -> Distance:
        _enough(len(first), len(second))
        return permuted(wasserstein(np.concatenate([first, second]), width), len(first), len(second), rng)

    powers = one.power, other.power
    shared = np.isfinite(powers[0]).all(axis=0) & np.isfinite(powers[1]).all(axis=0)
    _enough(len(powers[0]), len(powers[1]))
    spectra = np.concatenate([p[:, shared] for p in powers])
    blocks = int(one.block.max()) + 1, int(other.block.max()) + 1
    _enough(*blocks)
    told, total = scene_of(other), sum(blocks)
    far, apart = [], []
    for code in (0, 1):
        far.append(frechet(*_together(linear(one, code), linear(other, code), blocks[0]), total))
        seen = evidence(one, code, told), evidence(other, code, told)
        apart.append(kernel_distance(*_together(*seen, blocks[0]), total))
    return Gap(
        contrast=test(one.contrast, other.contrast, float(CONTRAST[1] - CONTRAST[0])),
        metal=test(one.columns(0), other.columns(0), float(COLUMN[1] - COLUMN[0])),
        chalcogen=test(one.columns(1), other.columns(1), float(COLUMN[1] - COLUMN[0])),
        noise=permuted(log_power_ratio(spectra), len(powers[0]), len(powers[1]), rng),
        frechet=permuted(added(*far), *blocks, rng),
        kernel=permuted(added(*apart), *blocks, rng),
    )


def _together(one: Points, other: Points, blocks: int) -> Points:
    """Both sets, whitened together; blocks of the second are numbered on from those of the first."""
    points = whitened(np.concatenate([one[0], other[0]]))
    return points, np.concatenate([one[1], other[1] + blocks])


def _enough(first: int, second: int) -> None:
    if min(first, second) < _FEWEST_BLOCKS:
        raise InputError(
            f"The frames have {first} and {second} blocks of 16 Å, {_FEWEST_BLOCKS} are needed. Use larger fields."
        )
