"""Distances between two sets of blocks, made of sums over blocks so that dealing them out anew costs little."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.comparing.permutation import Statistic

#: Points of a set that the kernel distance looks at, evenly spread.
_MOST_POINTS: Final = 1500


def wasserstein(counts: NDArray[np.float64], width: float) -> Statistic:
    """Earth mover's distance between histograms, in the unit of the bins.

    Parameters
    ----------
    counts
        (blocks, bins) histogram of each block.
    width
        Of a bin.
    """

    def distance(marked: NDArray[np.bool_]) -> float:
        one, other = counts[marked].sum(axis=0), counts[~marked].sum(axis=0)
        away = np.cumsum(one / one.sum() - other / other.sum())
        return float(np.abs(away).sum() * width)

    return distance


def log_power_ratio(power: NDArray[np.float64]) -> Statistic:
    """Root-mean-square of the logarithm of the ratio of two mean spectra; (blocks, frequencies) power of each block."""

    def distance(marked: NDArray[np.bool_]) -> float:
        ratio = np.log(power[marked].mean(axis=0)) - np.log(power[~marked].mean(axis=0))
        return float(np.sqrt(np.mean(ratio**2)))

    return distance


def frechet(values: NDArray[np.float64], block: NDArray[np.intp], blocks: int) -> Statistic:
    """Squared Fréchet distance of the Gaussians with the mean and covariance of either set.

    |μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), Dowson and Landau, J. Multivariate Analysis 12, 450 (1982).

    Parameters
    ----------
    values
        (n, d) points.
    block
        (n,) which block each belongs to.
    blocks
        How many there are; some may be empty.
    """
    count = np.bincount(block, minlength=blocks).astype(np.float64)
    first, second = np.zeros((blocks, values.shape[1])), np.zeros((blocks, values.shape[1], values.shape[1]))
    for b in range(blocks):
        mine = values[block == b]
        first[b], second[b] = mine.sum(axis=0), mine.T @ mine

    def moments(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n = count[chosen].sum()
        mean = first[chosen].sum(axis=0) / n
        return mean, second[chosen].sum(axis=0) / n - np.outer(mean, mean)

    def distance(marked: NDArray[np.bool_]) -> float:
        (mean, covariance), (other_mean, other) = moments(marked), moments(~marked)
        root = _root(covariance)
        mixed = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum()
        away = float(np.sum((mean - other_mean) ** 2))
        return away + float(np.trace(covariance) + np.trace(other)) - 2 * float(mixed)

    return distance


def kernel_distance(values: NDArray[np.float64], block: NDArray[np.intp], blocks: int) -> Statistic:
    """Squared maximum mean discrepancy with a Gaussian kernel as wide as the median distance of the points.

    Gretton et al., J. Machine Learning Research 13, 723 (2012); points are not compared with themselves.

    Parameters
    ----------
    values, block, blocks
        As of `frechet`.
    """
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), 2 * _MOST_POINTS)).astype(int))
    points, of = values[chosen].astype(np.float32), block[chosen]
    square = np.sum(points**2, axis=1)
    apart = np.maximum(square[:, None] + square[None] - 2 * points @ points.T, 0)
    kernel = np.exp(-apart / np.float32(np.median(apart)))
    np.fill_diagonal(kernel, 0)
    member = np.zeros((len(points), blocks), np.float32)
    member[np.arange(len(points)), of] = 1
    sums = (member.T @ kernel @ member).astype(np.float64)
    count = np.bincount(of, minlength=blocks).astype(np.float64)

    def distance(marked: NDArray[np.bool_]) -> float:
        one, n, m = marked.astype(np.float64), count[marked].sum(), count[~marked].sum()
        other = 1 - one
        within = one @ sums @ one / (n * (n - 1)) + other @ sums @ other / (m * (m - 1))
        return float(within - 2 * (one @ sums @ other) / (n * m))

    return distance


def added(*parts: Statistic) -> Statistic:
    """Sum of distances over the same blocks."""
    return lambda marked: sum(part(marked) for part in parts)


def whitened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points with mean zero and unit covariance; directions without spread are left out."""
    centred = values - values.mean(axis=0)
    size, direction = np.linalg.eigh(centred.T @ centred / len(values))
    kept = size > 1e-6 * size.max()
    white: NDArray[np.float64] = centred @ direction[:, kept] / np.sqrt(size[kept])
    return white


def _root(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    size, direction = np.linalg.eigh(symmetric)
    root: NDArray[np.float64] = (direction * np.sqrt(np.clip(size, 0, None))) @ direction.T
    return root
