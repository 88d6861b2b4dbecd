"""Where the lattice is in reciprocal space: the first hexagon of Bragg peaks of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stemctx_core.lattice import bin_kernels, kernels

Real = NDArray[np.float32]

#: Power of the weakest of three peaks over the noise around it. Noise reaches 5 by chance and amorphous films 5.5;
#: five rows of WSe2 at 10³ e/Å² reach 60, a real frame thousands.
SIGNIFICANT: Final = 8.0
#: The same for a peak to be looked at; in a small frame the peaks themselves fill much of the noise estimate.
_NOTABLE: Final = 3.0
#: How far the hexagon of a drifting scan may be from a regular one.
ANGLE_TOLERANCE_DEG: Final = 10.0
LENGTH_TOLERANCE: Final = 0.2
#: Frames are padded to this many pixels, so that peaks of a frame of few rows can be placed.
_LEAST_TRANSFORM: Final = 256
_MOST_PEAKS: Final = 48
#: Rings of frequency that the noise is measured in.
_RINGS: Final = 24
#: Logarithm of a noise that nothing stands out of.
_BEYOND_ALL: Final = 1e4
#: Highest frequency searched in a frame that is made coarser for it (cycles per pixel).
_COARSE_FREQUENCY: Final = 0.33
#: Closer to the origin than this many periods across the frame stands what varies slowly.
_LEAST_PERIODS: Final = 3.5


@dataclass(frozen=True)
class Hexagon:
    """First-order Bragg peaks.

    Attributes
    ----------
    vectors
        (2, 2) rows y, x in cycles per pixel, 120 degrees apart; the third is minus their sum.
    significance
        Power of the weakest of the three over the noise around it.
    """

    vectors: NDArray[np.float64]
    significance: float


def find_hexagon(image: Real, lowest: float, highest: float, preferred: float | None = None) -> Hexagon | None:
    """Find the first-order Bragg peaks of a hexagonal lattice.

    Parameters
    ----------
    image
        (height, width), mean near zero.
    lowest, highest
        Spatial frequencies to search (cycles per pixel).
    preferred
        Where the peaks are likely; nearer ones are taken unless others are much stronger.

    Returns
    -------
    Hexagon or None
        None where no three peaks at 60 degrees to each other stand out of the noise.
    """
    # What is beyond the frequencies looked at needs no pixels of its own; a small frame keeps all that it has.
    block = max(1, min(int(_COARSE_FREQUENCY / highest), min(image.shape) // _LEAST_TRANSFORM))
    coarse = kernels.block_means(image, block) if block > 1 else image
    found = _find(coarse, lowest * block, highest * block, None if preferred is None else preferred * block)
    return None if found is None else replace(found, vectors=found.vectors / block)


def _find(image: Real, lowest: float, highest: float, preferred: float | None) -> Hexagon | None:
    spectrum = _Spectrum(image, 1.25 * highest)
    best = _best_pair(spectrum, *spectrum.peaks(lowest, highest), preferred)
    if best is None:
        return None
    best = _first_order(best, spectrum, _LEAST_PERIODS / min(image.shape))
    best = replace(best, significance=spectrum.significance(best.vectors))
    return best if best.significance >= SIGNIFICANT else None


def _best_pair(
    spectrum: _Spectrum, vectors: NDArray[np.float64], power: NDArray[np.float64], preferred: float | None
) -> Hexagon | None:
    """Two peaks that make the strongest hexagon with the place where their third is due."""
    p, q = _sixty_degree_pairs(vectors)
    weaker, product = np.minimum(power[p], power[q]), power[p] * power[q]
    length = np.hypot(*vectors.T)
    away = (
        np.log(np.sqrt(length[p] * length[q]) / preferred) / 0.2 if preferred is not None else np.zeros(len(p))
    )
    # What a pair can score at most: the third is looked up only where that is more than what was found.
    limit = np.log(weaker) + 0.1 * np.log(product * spectrum.strongest) - 2.0 * away**2
    best: Hexagon | None = None
    best_score = -np.inf
    for n in np.argsort(-limit):
        if limit[n] <= best_score:
            break
        a, b = vectors[p[n]], vectors[q[n]]
        third = spectrum.power_near(a - b)
        weakest = min(float(weaker[n]), third)
        if weakest < _NOTABLE:
            continue
        score = np.log(weakest) + 0.1 * np.log(product[n] * third) - 2.0 * away[n] ** 2
        if score > best_score:
            # a and b are 60 degrees apart, so a and b - a are 120 degrees apart.
            best, best_score = Hexagon(np.array([a, b - a]), weakest), score
    return best


def _sixty_degree_pairs(vectors: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of peaks, about equally long and about 60 degrees apart."""
    if len(vectors) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    length = np.hypot(*vectors.T)
    cosine = (vectors @ vectors.T) / np.outer(length, length)
    narrow, wide = np.cos(np.radians((60 - ANGLE_TOLERANCE_DEG, 60 + ANGLE_TOLERANCE_DEG)))
    size = np.log(length)
    alike = np.abs(np.subtract.outer(size, size)) < LENGTH_TOLERANCE
    first, second = np.nonzero((cosine < narrow) & (cosine > wide) & alike)
    once = first < second
    return first[once], second[once]


def _first_order(found: Hexagon, spectrum: _Spectrum, lowest: float) -> Hexagon:
    """Step down from second-order peaks: in a honeycomb of like atoms these are the stronger ones."""
    g1, g2 = found.vectors
    g3 = -g1 - g2
    for smaller in ((g1 - g2) / 3, (g2 - g3) / 3), (g1 / 2, g2 / 2):
        three = (*smaller, -smaller[0] - smaller[1])
        if min(np.hypot(*v) for v in three) < lowest:
            continue
        power = [spectrum.power_near(v) for v in three]
        amplitude = [spectrum.amplitude_near(v) for v in three]
        main = min(spectrum.amplitude_near(v) for v in (g1, g2, g3))
        if min(power) > SIGNIFICANT and min(amplitude) > 0.15 * main:
            placed = np.array([spectrum.place_near(v) for v in smaller])
            stray = np.log(np.hypot(*placed.T) / np.hypot(*np.array(smaller).T))
            if np.abs(stray).max() > LENGTH_TOLERANCE:
                # In a frame of few rows the skirts of the peaks themselves reach that far in.
                continue
            return _first_order(Hexagon(placed, float(min(power))), spectrum, lowest)
    return found


class _Spectrum:
    """Power of the windowed frame around the origin of reciprocal space, over the noise at its frequency."""

    def __init__(self, image: Real, highest: float) -> None:
        shape = np.array(image.shape)
        padded = np.array([fft.next_fast_len(max(n, min(4 * n, _LEAST_TRANSFORM))) for n in image.shape])
        windowed = image * _window(image.shape[0])[:, None]
        windowed *= _window(image.shape[1])
        transform = fft.rfft2(windowed, tuple(padded))
        self.reach = np.minimum(np.ceil(highest * padded).astype(int), (padded - 1) // 2)
        cut = transform[np.arange(-self.reach[0], self.reach[0] + 1), : self.reach[1] + 1]
        right = cut.real**2 + cut.imag**2
        power = np.concatenate([right[::-1, :0:-1], right], axis=1)
        self.padded = padded
        #: Bins that one independent value takes, per axis.
        self.grain = padded / shape
        self._bins = padded.tolist(), self.reach.tolist(), self.grain.tolist()
        self.power = bin_kernels.smoothed(power, *(_weights(0.7 * grain) for grain in self.grain.tolist()))
        self.frequency = _frequencies(tuple(padded.tolist()), tuple(self.reach.tolist()))
        self._per_ring = _RINGS / float(self.frequency[0, 0])  # the highest is in the corners
        noise = self._noise(np.ones(power.shape, np.bool_))
        self.over_noise = bin_kernels.over_noise(self.power, self.frequency, self._per_ring, noise)
        self.strongest = float(self.over_noise.max())

    def _noise(self, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(_RINGS,) logarithm of the noise power in each ring of frequency; beyond all power where it is known in none.

        A low percentile, so that the peaks themselves hardly count.
        """
        # The other half-plane holds the same.
        half = slice(int(self.reach[0]), None)
        values = self.power[half], self.frequency[half], counted[half]
        # 30th percentile of six averaged exponential values is 0.76 of their mean.
        level = bin_kernels.levels(*values, self._per_ring, _RINGS, 0.3) / 0.76
        known = np.flatnonzero(level > 0)
        if not len(known):
            return np.full(_RINGS, _BEYOND_ALL)
        noise: NDArray[np.float64] = np.interp(np.arange(_RINGS), known, np.log(level[known]))
        return noise

    def significance(self, vectors: NDArray[np.float64]) -> float:
        """Power of the weakest peak of a hexagon over the noise, with the peaks left out of the noise."""
        first = [vectors[0], vectors[1], -vectors.sum(axis=0)]
        second = [first[0] - first[1], first[1] - first[2], first[2] - first[0]]
        counted = np.ones(self.power.shape, np.bool_)
        radius = 2.5 * self.grain
        ends = np.array([*first, *second, np.zeros(2)])
        centres = np.round(np.concatenate([ends, -ends]) * self.padded + self.reach).astype(int)
        before, behind = (np.maximum(c, 0).astype(int) for c in (centres - radius, centres + radius + 1))
        for top, left, bottom, right in np.concatenate([before, behind], axis=1).tolist():
            counted[top:bottom, left:right] = False
        if not counted.any():
            return 0.0
        noise = self._noise(counted)
        edges = [self._edges(v) for v in first]
        around = [
            (slice(top, max(top, end + 1)), slice(left, max(left, right + 1)))
            for top, end, left, right in edges
        ]
        over_noise = [
            bin_kernels.over_noise(self.power[a], self.frequency[a], self._per_ring, noise) for a in around
        ]
        return min(float(power.max(initial=0.0)) for power in over_noise)

    def peaks(self, lowest: float, highest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Strongest local maxima of one half-plane and their mirror images: (n, 2) cycles per pixel, (n,) power."""
        radius = np.maximum(1, np.round(1.5 * self.grain)).astype(int)
        middle = int(self.reach[1])
        field = self.over_noise
        where = bin_kernels.summits(field, self.frequency, lowest, highest, _NOTABLE, *radius.tolist(), middle)
        strength = field[where[:, 0], where[:, 1]].astype(np.float64)
        strongest = np.argsort(-strength, kind="stable")[:_MOST_PEAKS]
        vectors, strength = self._sub_bin(where[strongest]), strength[strongest]
        # Those in the middle are there with their mirror images.
        mirrored = where[strongest, 1] > middle
        return np.concatenate([vectors, -vectors[mirrored]]), np.concatenate([strength, strength[mirrored]])

    def _sub_bin(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Summits of parabolas through the logarithm of the power at (n, 2) bins: (n, 2) cycles per pixel."""
        places: NDArray[np.float64] = (bin_kernels.between_bins(self.power, bins) - self.reach) / self.padded
        return places

    def _edges(self, vector: NDArray[np.floating[Any]]) -> tuple[int, int, int, int]:
        """First and last row, first and last column within 4 % of a vector's length, or 1.5 grains, of its end."""
        y, x = vector.tolist()
        length = math.hypot(y, x)
        (rows, columns), (down, across), (coarse, fine) = self._bins
        middle, other = round(y * rows + down), round(x * columns + across)
        high, wide = (
            round(max(0.04 * length * n, 1.5 * grain)) for n, grain in ((rows, coarse), (columns, fine))
        )
        return max(0, middle - high), middle + high, max(0, other - wide), other + wide

    def power_near(self, vector: NDArray[np.floating[Any]]) -> float:
        """Highest power over noise near a reciprocal vector."""
        return float(bin_kernels.strongest_within(self.over_noise, *self._edges(vector))[0])

    def amplitude_near(self, vector: NDArray[np.floating[Any]]) -> float:
        """Highest amplitude near a reciprocal vector."""
        return math.sqrt(bin_kernels.strongest_within(self.power, *self._edges(vector))[0])

    def place_near(self, vector: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The peak near a reciprocal vector."""
        _, i, j = bin_kernels.strongest_within(self.power, *self._edges(vector))
        place: NDArray[np.float64] = self._sub_bin(np.array([[i, j]]))[0]
        return place


@lru_cache(maxsize=8)
def _window(count: int) -> Real:
    """(count,) Hann window."""
    window: Real = np.hanning(count).astype(np.float32)
    return window


@lru_cache(maxsize=4)
def _frequencies(padded: tuple[int, int], reach: tuple[int, int]) -> NDArray[np.float64]:
    """Spatial frequency (cycles per pixel) of every bin up to a reach, of a transform of so many bins."""
    rows, columns = (np.arange(-r, r + 1) / n for r, n in zip(reach, padded, strict=True))
    frequencies: NDArray[np.float64] = np.hypot(rows[:, None], columns)
    return frequencies


@lru_cache(maxsize=8)
def _weights(sigma: float) -> Real:
    """(2 × reach + 1,) Gaussian weights, cut at three widths."""
    reach = int(3 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    normal: Real = (weights / weights.sum()).astype(np.float32)
    return normal
