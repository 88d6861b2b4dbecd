"""Where the lattice is in each part of a frame: geometric phase analysis of two Bragg peaks.

The frame is demodulated by each peak once, on blocks of about an ångström; all else happens on those blocks.
Hÿtch, Snoeck and Kilaas, Ultramicroscopy 74, 131 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import unwrap_phase

from stemctx_core.kernels.compiled import alone
from stemctx_core.kernels.robust import medians
from stemctx_core.lattice import kernels

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

#: Standard deviations (Å) of the averaging windows, in the order they are used. The first decides what warp can be
#: followed and how much noise gets in; the others take off what is left, mostly at the edges and where the warp
#: curves. The second schedule is tried where the last step of the first moves a phase by more than the last number
#: (radians; where the second does better it is over 1): then the third Bragg peak, which the fit does not see, chooses.
SCHEDULES_ANGSTROM: Final = ((9.0, 9.0), (6.0, 9.0, 9.0))
_FOLLOWED: Final = 0.3
#: The window (Å) by which a field that was followed before is refined: what varies over less is kept from the frames
#: before, whose mean has less noise in it than a single frame.
TRACKING_WINDOW_ANGSTROM: Final = 9.0
#: Over less than this (Å) nothing is kept from the frames before: refining hardly changes it, so noise would add up.
FORGOTTEN_ANGSTROM: Final = 5.0
#: Refining once leaves the least noise, twice follows more of a change; the third Bragg peak chooses here too.
_REFINEMENTS: Final = 2
#: A refinement that moves the phases by less than this everywhere (radians; 0.05 Å) leaves nothing for the next.
_SETTLED: Final = 0.1
_BLOCKS_PER_PLANE: Final = 2.5
#: Steps of the fixed point that finds a site in a warped frame.
_ROUNDS: Final = 8
_BACKGROUND_ANGSTROM: Final = 3.5
#: Sites of fewer cells are found by one thread.
_SHARED_CELLS: Final = 5000


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

    def displacement(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phase at (n, 2) points, in lattice units: (n, 2)."""
        turns = [kernels.sample(p, self.block, points_px) for p in self.phase]
        return np.stack(turns, axis=1) / (2 * np.pi)

    def coherence_at(self, points_px: NDArray[np.float64]) -> Real:
        """Coherence at (n, 2) points."""
        seen: Real = kernels.sample(self.coherence, self.block, points_px).astype(np.float32)
        return seen

    def lattice_coordinates(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points in units of the direct lattice vectors."""
        coordinates: NDArray[np.float64] = points_px @ self.vectors.T + self.displacement(points_px)
        return coordinates

    def points(self, coordinates: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Points (px) of (n, 2) lattice coordinates, by fixed point."""
        coordinates = np.ascontiguousarray(coordinates, np.float64)
        places: NDArray[np.float64] = kernels.follow_points(coordinates, *self._to_follow(shape))
        return places

    def sites_within(
        self, cells: NDArray[np.float64], points: NDArray[np.float64], shape: tuple[int, int], edge_px: float
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sites of (n, 2) cells that are so far inside a frame, of the first kind and then of the second.

        Parameters
        ----------
        points
            (2, 2) lattice coordinates of the two sites of a cell.

        Returns
        -------
        places
            (m, 2) y, x in pixels.
        which
            (m,) row of each one's cell, those of the second kind counted on.
        """
        with alone(len(cells) < _SHARED_CELLS):
            places, which = kernels.sites_within(cells, points, *self._to_follow(shape), edge_px)
        return places, which

    def _to_follow(
        self, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int, float, float, int]:
        """What the fixed point is found by, in a frame of a shape."""
        inverse = np.asarray(np.linalg.inv(self.vectors).T, np.float64)
        return inverse, self.phase, self.block, shape[0] - 1.0, shape[1] - 1.0, _ROUNDS

    def mean_basis(self) -> NDArray[np.float64]:
        """Direct lattice vectors, rows a1, a2 as y, x in pixels: mean over the frame, by coherence."""
        return self._mean_basis

    @cached_property
    def _mean_basis(self) -> NDArray[np.float64]:
        # Where no lattice is seen anywhere, all places count alike.
        weight = np.clip(self.coherence, 0, 1).astype(np.float64) + 1e-9
        fit = kernels.plane(self.phase, weight, self.block) / (2 * np.pi)
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
    block = _block(image.shape, vectors)
    fitted, third = _demodulated(image, vectors, block, pixel_size_angstrom)
    start = _ramps(fitted, SCHEDULES_ANGSTROM[0][0] / (pixel_size_angstrom * block))
    best, best_sum = None, -1.0
    for schedule in SCHEDULES_ANGSTROM:
        windows = [w / (pixel_size_angstrom * block) for w in schedule]
        phase, coherence, moved = _follow(fitted, windows, start)
        flat = third * _turned(-phase.sum(axis=0))
        coherent_sum = float(np.abs(flat.sum()))
        if coherent_sum > best_sum:
            agreement = _agreement(flat, windows[0])
            best, best_sum = PhaseField(vectors, phase, block, coherence, agreement), coherent_sum
        if moved < _FOLLOWED:
            break
    assert best is not None
    return best


def refit_phase(image: Real, before: PhaseField, pixel_size_angstrom: float) -> PhaseField | None:
    """Follow the lattice of the frame before in a new one; it may have drifted, and differ in its rows.

    Parameters
    ----------
    before
        Where the lattice was.

    Returns
    -------
    PhaseField or None
        With lattice coordinates that go on from those of the frame before for drifts up to half a lattice vector;
        None for a frame of another width.
    """
    block = _block(image.shape, before.vectors)
    rows, columns = image.shape[0] // block, image.shape[1] // block
    if block != before.block or columns != before.phase.shape[2]:
        return None
    start = _forgetting(before.phase, FORGOTTEN_ANGSTROM / (pixel_size_angstrom * block))
    start = start[:, np.minimum(np.arange(rows), start.shape[1] - 1)]
    fitted, third = _demodulated(image, before.vectors, block, pixel_size_angstrom)
    left = fitted * _turned(-start)
    # Drift is the same everywhere: taken off first, what is left hardly needs unwrapping.
    drift = np.angle(left.sum(axis=(1, 2)).astype(np.complex128))
    start = start + drift[:, None, None]
    window = TRACKING_WINDOW_ANGSTROM / (pixel_size_angstrom * block)
    best, best_sum = None, -1.0
    phase = start
    for _ in range(_REFINEMENTS):
        phase, coherence, moved = _follow(fitted, [window], phase)
        flat = third * _turned(-phase.sum(axis=0))
        coherent_sum = float(np.abs(flat.sum()))
        if coherent_sum > best_sum:
            best_sum = coherent_sum
            best = PhaseField(before.vectors, phase, block, coherence, _agreement(flat, window))
        if moved < _SETTLED:
            break
    return best


def _ramps(fitted: Complex, window: float) -> NDArray[np.float64]:
    """(2, rows, columns) the plane that each phase follows on the mean, since the Bragg vectors are a little off.

    What is left when it is taken off hardly needs unwrapping.
    """
    seen = _smooth(fitted, window)
    down, across = (
        np.angle(np.einsum("kyx,kyx->k", after, before.conj()))
        for after, before in ((seen[:, 1:], seen[:, :-1]), (seen[:, :, 1:], seen[:, :, :-1]))
    )
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in fitted.shape[1:])
    ramps = down[:, None, None] * rows[:, None] + across[:, None, None] * columns
    middle = np.angle(np.einsum("kyx,kyx->k", fitted, _turned(-ramps)))
    planes: NDArray[np.float64] = ramps + middle[:, None, None]
    return planes


def _forgetting(phase: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Phases averaged over a short window."""
    middle = phase.mean(axis=(1, 2), keepdims=True)
    down, across = (_gaussian(n, sigma) for n in phase.shape[1:])
    down, across = (m / m.sum(axis=1, keepdims=True) for m in (down, across))
    smooth: NDArray[np.float64] = middle + down @ (phase - middle).astype(np.float32) @ across.T
    return smooth


def _block(shape: tuple[int, ...], vectors: NDArray[np.float64]) -> int:
    """Side of a block (px)."""
    longest = float(np.hypot(*vectors.T).max())
    block = max(1, round(1 / (longest * _BLOCKS_PER_PLANE)))
    return min(block, *(max(1, n // 4) for n in shape))


def _demodulated(
    image: Real, vectors: NDArray[np.float64], block: int, pixel_size_angstrom: float
) -> tuple[Complex, Complex]:
    """(2, rows, columns) and (rows, columns): the two Bragg peaks and the third, demodulated on blocks."""
    # What varies slowly goes first: cut off by the frame's edge, it would leak into the phases there.
    means = kernels.block_means(image, block)
    sigma = _BACKGROUND_ANGSTROM / (pixel_size_angstrom * block)
    down, across = (_gaussian(n, sigma, "nearest") for n in means.shape)
    level = down @ means @ across.T
    three = np.concatenate([vectors, vectors.sum(axis=0)[None]])
    turns = (three[:, axis, None] * np.arange(n * block) for axis, n in enumerate(means.shape))
    # Less whole turns, so that single precision does.
    comb_y, comb_x = (_turned(-2 * np.pi * (t - np.rint(t))) for t in turns)
    columns = means.shape[1]
    at = np.clip((np.arange(columns * block) + 0.5) / block - 0.5, 0, columns - 1)
    left = np.minimum(at.astype(np.uint32), columns - 2)
    part = (at - left).astype(np.float32)
    blocks: Complex = kernels.demodulate(image, level, block, comb_y, comb_x, left, part)
    return blocks[:2], blocks[2]


def _turned(phase: NDArray[np.float64]) -> Complex:
    """exp(i phase) in single precision."""
    angle = phase.astype(np.float32)
    turned: Complex = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=turned.real)
    np.sin(angle, out=turned.imag)
    return turned


def _agreement(flat: Complex, window: float) -> float:
    """How far the third peak, with the sum of both phases taken off, has one phase all over the frame."""
    size = float(np.abs(_smooth(flat[None], window)).sum())
    return min(1.0, float(np.abs(flat.sum())) / size) if size > 0 else 0.0


def _gaussian(count: int, sigma: float, beyond: str = "constant") -> Real:
    """(count, count) matrix that averages along an axis with a Gaussian cut at three widths.

    Parameters
    ----------
    beyond
        The edge: "constant" is zero there, "nearest" as on the edge.
    """
    # Pixel sizes of frames of one field differ in the fourth digit.
    return _weights(count, round(sigma, 2), beyond)


@lru_cache(maxsize=32)
def _weights(count: int, sigma: float, beyond: str) -> Real:
    weights = ndimage.gaussian_filter1d(np.eye(count), sigma, axis=0, mode=beyond, truncate=3.0)
    return np.ascontiguousarray(weights, np.float32)


def _smooth(fields: Complex, sigma: float) -> Complex:
    """Gaussian averages of (n, rows, columns) fields; as products with matrices, since those are fast."""
    count, rows, columns = fields.shape
    down, across = _gaussian(rows, sigma), _gaussian(columns, sigma)
    parts = np.concatenate([fields.real, fields.imag])
    smooth = down @ (parts.reshape(-1, columns) @ across.T).reshape(2 * count, rows, columns)
    averaged: Complex = np.empty(fields.shape, np.complex64)
    averaged.real, averaged.imag = smooth[:count], smooth[count:]
    return averaged


def _follow(
    blocks: Complex, windows: list[float], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Real, float]:
    """Unwrapped, smooth phases of two demodulated peaks, their coherence, and by how much the last step moved them."""
    phase = start
    for window in windows:
        seen = _smooth(blocks * _turned(-phase), window)
        inside = [_gaussian(n, window).sum(axis=1) for n in blocks.shape[1:]]
        amplitude = np.abs(seen) / np.outer(*inside)
        usual = medians(amplitude.reshape(len(seen), -1)).astype(np.float32)
        coherence = (amplitude / usual[:, None, None]).min(axis=0)
        weight = np.clip((coherence - 0.15) / 0.25, 0, 1)
        step = np.stack([_bridge(_unwrapped(np.angle(z)), weight, window) for z in seen])
        phase = phase + step
        if np.abs(step).max() < _SETTLED:
            break
    return phase, np.clip(coherence, 0, 1).astype(np.float32), float(np.abs(step).max())


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
