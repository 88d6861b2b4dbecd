"""Where the lattice is in each part of a frame: geometric phase analysis of two Bragg peaks.

The frame is demodulated by each peak once, on blocks of about an ångström; all else happens on those blocks.
Hÿtch, Snoeck and Kilaas, Ultramicroscopy 74, 131 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import unwrap_phase

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

#: Standard deviations (Å) of the averaging windows, in the order they are used. The first decides what warp can be
#: followed and how much noise gets in; the others take off what is left, mostly at the edges and where the warp
#: curves. Each schedule is tried, and the third Bragg peak, which the fit does not see, chooses.
SCHEDULES_ANGSTROM: Final = ((6.0, 9.0, 9.0), (9.0, 9.0))
_BLOCKS_PER_PLANE: Final = 2.5
_BACKGROUND_ANGSTROM: Final = 3.5


@dataclass(frozen=True)
class PhaseField:
    """Lattice coordinates of every place in a frame.

    Attributes
    ----------
    vectors
        (2, 2) Bragg vectors, rows y, x in cycles per pixel.
    phase
        (2, rows, columns) radians on blocks, added to 2π g·r; smooth.
    block
        Side of a block in pixels.
    coherence
        (rows, columns) how well the lattice is seen, 1 typical of the frame, 0 none (holes, another grain).
    agreement
        Agreement of the third Bragg peak with the two that were fitted, 0 to 1.
    """

    vectors: NDArray[np.float64]
    phase: NDArray[np.float64]
    block: int
    coherence: Real
    agreement: float

    def _on_blocks(
        self, field: NDArray[Any], points_px: NDArray[np.float64], order: int
    ) -> NDArray[np.float64]:
        where = ((points_px + 0.5) / self.block - 0.5).T
        sampled: NDArray[np.float64] = ndimage.map_coordinates(
            field, where, order=order, mode="nearest", prefilter=False
        )
        return sampled

    def displacement(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phase at (n, 2) points, in lattice units: (n, 2)."""
        turns = [self._on_blocks(p, points_px, 1) for p in self.phase]
        return np.stack(turns, axis=1) / (2 * np.pi)

    def coherence_at(self, points_px: NDArray[np.float64]) -> Real:
        """Coherence at (n, 2) points."""
        return self._on_blocks(self.coherence, points_px, 1).astype(np.float32)

    def lattice_coordinates(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points in units of the direct lattice vectors."""
        coordinates: NDArray[np.float64] = points_px @ self.vectors.T + self.displacement(points_px)
        return coordinates

    def points(self, coordinates: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Points (px) of (n, 2) lattice coordinates, by fixed point."""
        inverse = np.linalg.inv(self.vectors).T
        limit = np.array(shape) - 1.0
        places = coordinates @ inverse
        for _ in range(8):
            places = (coordinates - self.displacement(np.clip(places, 0, limit))) @ inverse
        return places

    def mean_basis(self) -> NDArray[np.float64]:
        """Direct lattice vectors, rows a1, a2 as y, x in pixels: mean over the frame, by coherence."""
        rows, columns = self.coherence.shape
        y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * self.block for n in (rows, columns)), indexing="ij")
        weight = np.sqrt(np.clip(self.coherence, 0, 1)).ravel()
        terms = np.stack([np.ones(y.size), y.ravel(), x.ravel()], axis=1)
        fit, *_ = np.linalg.lstsq(
            terms * weight[:, None], (self.phase.reshape(2, -1) * weight).T / (2 * np.pi), rcond=None
        )
        basis: NDArray[np.float64] = np.linalg.inv(self.vectors + fit[1:].T).T
        return basis


def fit_phase(image: Real, vectors: NDArray[np.float64], pixel_size_angstrom: float) -> PhaseField:
    """Follow the lattice through the frame.

    Parameters
    ----------
    image
        (height, width), mean near zero.
    vectors
        (2, 2) Bragg vectors 120 degrees apart, rows y, x in cycles per pixel.
    pixel_size_angstrom
        As the lattice gives it; sets the windows.
    """
    longest = float(np.hypot(*vectors.T).max())
    block = max(1, round(1 / (longest * _BLOCKS_PER_PLANE)))
    block = min(block, *(max(1, n // 4) for n in image.shape))
    level = _background(image, block, _BACKGROUND_ANGSTROM / pixel_size_angstrom)
    *fitted, third = (_demodulate(level, g, block) for g in (*vectors, vectors.sum(axis=0)))
    best, best_sum = None, -1.0
    for schedule in SCHEDULES_ANGSTROM:
        windows = [w / (pixel_size_angstrom * block) for w in schedule]
        phase, coherence = _follow(fitted, windows)
        flat = third * np.exp(-1j * phase.sum(axis=0)).astype(np.complex64)
        coherent_sum = float(np.abs(flat.sum()))
        if coherent_sum > best_sum:
            size = float(np.abs(ndimage.gaussian_filter(flat, windows[0], mode="constant", truncate=3.0)).sum())
            agreement = min(1.0, coherent_sum / size) if size > 0 else 0.0
            best, best_sum = PhaseField(vectors, phase, block, coherence, agreement), coherent_sum
    assert best is not None
    return best


def _background(image: Real, block: int, sigma_px: float) -> Real:
    """The image without what varies slowly: cut off by the frame's edge, it would leak into the phases there."""
    rows, columns = (n // block for n in image.shape)
    means = image[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))
    smooth = ndimage.gaussian_filter(means, sigma_px / block, mode="nearest", truncate=3.0)
    y, x = (
        np.clip((np.arange(n) + 0.5) / block - 0.5, 0, m - 1)
        for n, m in zip(image.shape, smooth.shape, strict=True)
    )
    i, j = np.minimum(y.astype(int), rows - 2), np.minimum(x.astype(int), columns - 2)
    fy, fx = (y - i).astype(np.float32), (x - j).astype(np.float32)
    across = smooth[:, j] * (1 - fx) + smooth[:, j + 1] * fx
    level: Real = across[i] * (1 - fy)[:, None] + across[i + 1] * fy[:, None]
    return image - level


def _demodulate(image: Real, vector: NDArray[np.float64], block: int) -> Complex:
    """Mean over blocks of the image times exp(-2πi g·r)."""
    rows, columns = (n // block for n in image.shape)
    cut = image[: rows * block, : columns * block]
    y, x = (
        np.exp(-2j * np.pi * g * np.arange(n * block)).astype(np.complex64)
        for g, n in zip(vector, (rows, columns), strict=True)
    )
    # Columns first: a real matrix against a real and an imaginary comb is far cheaper than a complex frame.
    along_x = np.einsum("ikb,kb->ik", cut.reshape(rows * block, columns, block), x.reshape(columns, block))
    blocks: Complex = np.einsum("rbk,rb->rk", along_x.reshape(rows, block, columns), y.reshape(rows, block))
    return blocks / block**2


def _follow(blocks: list[Complex], windows: list[float]) -> tuple[NDArray[np.float64], Real]:
    """Unwrapped, smooth phases of two demodulated peaks and their coherence."""
    phase = np.zeros((2, *blocks[0].shape))
    for window in windows:
        seen = [
            ndimage.gaussian_filter(
                b * np.exp(-1j * p).astype(np.complex64), window, mode="constant", truncate=3.0
            )
            for b, p in zip(blocks, phase, strict=True)
        ]
        inside = ndimage.gaussian_filter(
            np.ones(blocks[0].shape, np.float32), window, mode="constant", truncate=3.0
        )
        amplitude = np.stack([np.abs(z) for z in seen]) / inside
        coherence = (amplitude / np.median(amplitude, axis=(1, 2), keepdims=True)).min(axis=0)
        weight = np.clip((coherence - 0.15) / 0.25, 0, 1)
        phase = phase + np.stack([_bridge(_unwrapped(np.angle(z)), weight, window) for z in seen])
    return phase, np.clip(coherence, 0, 1).astype(np.float32)


def _unwrapped(angle: Real) -> NDArray[np.float64]:
    """The angle without jumps of a turn; what stays well inside one turn needs no unwrapping."""
    smooth = angle if float(np.abs(angle).max()) < 2.8 else unwrap_phase(angle)
    return np.asarray(smooth, np.float64)


def _bridge(phase: NDArray[np.float64], weight: Real, window: float) -> NDArray[np.float64]:
    """Carry the phase smoothly over places where no lattice is seen."""
    if weight.min() > 0.99:
        return phase
    reach = 3 * window
    mass = ndimage.gaussian_filter(weight.astype(np.float64), reach, mode="nearest")
    level = float(np.average(phase, weights=weight + 1e-9))
    carried = level + ndimage.gaussian_filter((phase - level) * weight, reach, mode="nearest") / (mass + 1e-3)
    bridged: NDArray[np.float64] = weight * phase + (1 - weight) * carried
    return bridged
