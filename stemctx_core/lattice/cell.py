"""The mean unit cell of a frame: its three points of threefold symmetry, their heights, and its contrast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.kernels.compiled import alone
from stemctx_core.lattice import kernels
from stemctx_core.lattice.phase import PhaseField

Real = NDArray[np.float32]

#: Bins along each side; a multiple of three, so that the three points lie alike on them.
_BINS: Final = 36
#: Pixels folded at most: enough for a thousand in each bin.
MOST_PIXELS: Final = 400_000
#: Fewer are folded by one thread.
_SHARED_PIXELS: Final = 200_000
#: Fourier orders that are kept; beyond them the source leaves little but noise.
_ORDERS: Final = 3
#: |h|² of a hexagonal lattice in vectors 120 degrees apart.
_KEPT: Final = tuple(
    (h, k)
    for h in range(-_ORDERS, _ORDERS + 1)
    for k in range(-_ORDERS, _ORDERS + 1)
    if h * h + k * k - h * k <= _ORDERS**2
)
THIRD: Final = np.array([1 / 3, 1 / 3])


@dataclass(frozen=True)
class MeanCell:
    """Mean unit cell.

    Attributes
    ----------
    points
        (3, 2) lattice coordinates of the three points of threefold symmetry, brightest first; each is a third of
        the long diagonal from the next.
    heights
        (3,) intensity there, as in the image.
    second_shell
        Mean Fourier coefficient of the second shell, which adds up over all columns alike, in units of the first
        shell's amplitude: positive where columns are bright, negative where they are dark.
    second_shell_error
        Its standard error from the pixel noise.
    height_error
        Standard error of the heights from the pixel noise, as in the image.
    """

    points: NDArray[np.float64]
    heights: NDArray[np.float64]
    second_shell: float
    second_shell_error: float
    height_error: float

    @property
    def column_heights(self) -> tuple[float, float]:
        """Brighter and dimmer column over the hollow site."""
        return float(self.heights[0] - self.heights[2]), float(self.heights[1] - self.heights[2])


def fold(image: Real, field: PhaseField, most_pixels: int = MOST_PIXELS) -> MeanCell:
    """Average the frame into one unit cell.

    Parameters
    ----------
    image
        (height, width).
    field
        Lattice coordinates of the frame; places without a visible lattice are left out.
    most_pixels
        Of so many pixels at most.
    """
    stride = int(np.ceil(np.sqrt(image.size / most_pixels)))
    sampled = -(-(image.shape[0] - stride // 2) // stride) * -(-(image.shape[1] - stride // 2) // stride)
    folded = [stride, field.vectors, field.phase, field.coherence, field.block]
    with alone(sampled < _SHARED_PIXELS):
        count, total, squares = _added_up(*kernels.fold_pixels(image, *folded, 0.5, _BINS))
    if count.sum() < 0.05 * sampled:
        count, total, squares = _added_up(*kernels.fold_pixels(image, *folded, -1.0, _BINS))
    pixels = float(count.sum())
    cell = np.where(count > 0, total / np.maximum(count, 1), total.sum() / pixels)
    turns = _turns()
    spectrum = turns @ cell @ turns.T

    # Within one cell, so that those of two frames can be compared.
    points = (_threefold_points(spectrum) + 1 / 6) % 1.0 - 1 / 6
    heights = _series(spectrum, points)
    order = np.argsort(-heights)
    first = float(np.mean([abs(spectrum[h]) for h in ((1, 0), (0, 1), (-1, -1))]))
    second = float(np.mean([_coefficient(spectrum, h, points[0]) for h in ((1, -1), (2, 1), (1, 2))]))
    noise = float(np.sqrt(max(0.0, squares - (count * cell**2).sum()))) / pixels
    scale = first if first > 0 else 1.0
    height_error = noise * np.sqrt(len(_KEPT))
    return MeanCell(points[order], heights[order], second / scale, noise / scale, height_error)


def _added_up(
    parts: NDArray[np.complex64], squares: Real
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(_BINS, _BINS) counts and sums of all parts of a frame, and the sum of all squares."""
    sums = parts.sum(axis=0, dtype=np.complex128)
    return sums.imag, sums.real, float(squares.sum(dtype=np.float64))


@lru_cache(maxsize=1)
def _turns() -> NDArray[np.complex128]:
    """(2 × _ORDERS + 1, _BINS) matrix to the Fourier orders 0, 1, ..., -2, -1 along an axis of the cell."""
    orders = np.fft.fftfreq(2 * _ORDERS + 1, 1 / (2 * _ORDERS + 1))
    # Bin k covers k/n to (k+1)/n: its value stands at its centre.
    centres = (np.arange(_BINS) + 0.5) / _BINS
    turns: NDArray[np.complex128] = np.exp(-2j * np.pi * orders[:, None] * centres) / _BINS
    return turns


def _threefold_points(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Points about which the cell is threefold: there the three first-order coefficients have one phase.

    The sum of the three phases does not depend on the origin, so the common phase is a third of it, and the three
    thirds of a turn give the three points.
    """
    p1, p2, p3 = (float(np.angle(spectrum[h])) for h in ((1, 0), (0, 1), (-1, -1)))
    common = (p1 + p2 + p3) / 3
    origin = np.array([common - p1, common - p2]) / (2 * np.pi)
    return np.stack([origin, origin + THIRD, origin + 2 * THIRD])


def _coefficient(
    spectrum: NDArray[np.complex128], order: tuple[int, int], origin: NDArray[np.float64]
) -> float:
    """Real part of a Fourier coefficient with the origin moved."""
    return float((spectrum[order] * np.exp(2j * np.pi * (np.array(order) @ origin))).real)


def _series(spectrum: NDArray[np.complex128], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier series at (n, 2) points, to a few orders."""
    orders = np.array(_KEPT)
    turns = np.exp(2j * np.pi * (points @ orders.T))
    values: NDArray[np.float64] = (turns @ spectrum[orders[:, 0], orders[:, 1]]).real
    return values
