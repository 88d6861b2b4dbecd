"""A frame as everything that is compared of it: contrast, columns, noise and features, each by blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.comparing.permutation import BLOCK_ANGSTROM, block_index
from stemctx_core.contrast.mean_patches import OWN_COLUMN
from stemctx_core.encoding.column_features import NODES, column_maps
from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.estimating.noise import Residual, residual
from stemctx_core.scene import host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import response_tables

#: Bins of the histograms: intensity from the frame's mean, in units of the brighter host column; column over metal.
CONTRAST: Final = np.linspace(-1.5, 2.0, 141)
COLUMN: Final = np.linspace(-0.5, 3.0, 141)
#: Of the image before its histogram is taken (Å): else whole counts of a few electrons show as a comb.
SMOOTHED_ANGSTROM: Final = 0.25
#: Bands of spatial frequency (1/Å); beyond the last, frames of 0.4 Å a pixel hold nothing.
FREQUENCIES: Final = np.linspace(0.08, 1.2, 15)


@dataclass(frozen=True)
class FrameView:
    """What of a frame is compared with another one.

    Attributes
    ----------
    lattice, left
        What it rests on.
    amplitude
        (m,) of each column over the host's metal, as the frame itself shows it.
    block
        (m,) block of each column.
    power
        (blocks, 2 × bands of `FREQUENCIES`) noise along the fast and the slow axis, in squared units of the brighter
        host column times Å².
    """

    lattice: HostLattice
    left: Residual
    amplitude: NDArray[np.float64]
    block: NDArray[np.intp]
    power: NDArray[np.float64]

    @cached_property
    def contrast(self) -> NDArray[np.float64]:
        """(blocks, bins of `CONTRAST`) histogram of the pixels, slightly smoothed."""
        lattice, px = self.lattice, self.left.pixel_size_angstrom
        # From the frame's mean, not from the fitted background: that has an error of its own, which all blocks share.
        intensity = gaussian_filter(lattice.image, SMOOTHED_ANGSTROM / px, mode="nearest")
        intensity = (intensity - np.float32(intensity.mean())) / np.float32(lattice.unit)
        block = block_index(np.indices(intensity.shape, np.float64).reshape(2, -1).T * px)
        return _by_block(intensity.ravel(), block, int(block.max()) + 1, CONTRAST)

    def columns(self, sublattice: int) -> NDArray[np.float64]:
        """(blocks, bins of `COLUMN`) histogram of the amplitudes of a sublattice."""
        mine = self.lattice.sublattice == sublattice
        return _by_block(self.amplitude[mine], self.block[mine], int(self.block.max()) + 1, COLUMN)


def frame_view(library: ResponseLibrary, lattice: HostLattice) -> FrameView:
    """Prepare a frame to be compared."""
    px = lattice.grid.pixel_size_angstrom
    left = residual(lattice)
    return FrameView(
        lattice=lattice,
        left=left,
        amplitude=_amplitudes(library, lattice),
        block=block_index(lattice.positions_px * px),
        power=_power(left),
    )


def _by_block(
    values: NDArray[np.floating], block: NDArray[np.intp], blocks: int, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Histograms; what lies beyond the bins counts in the outermost ones."""
    bins = len(edges) - 1
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return np.bincount(block * bins + which, minlength=blocks * bins).reshape(blocks, bins).astype(np.float64)


def _amplitudes(library: ResponseLibrary, lattice: HostLattice) -> NDArray[np.float64]:
    """Each column over the metal: how far its own feature is off its sublattice's, over what a whole column adds."""
    tables = response_tables(library, host_columns(lattice.host), lattice.optics)[:, NODES].astype(np.float64)
    tables[1] *= lattice.calibration.ratio
    tables /= lattice.predictions.scene_reference
    own = lattice.features[:, OWN_COLUMN].astype(np.float64)
    over_metal = (1.0, lattice.ratio)
    amplitude = np.zeros(len(own))
    for code, name in enumerate(Sublattice):
        mine = lattice.sublattice == code
        whole = float(tables[code] @ column_maps(name, lattice.host.a_angstrom).own[:, OWN_COLUMN])
        amplitude[mine] = over_metal[code] * (1 + (own[mine] - np.median(own[mine])) / whole)
    return amplitude


def _power(left: Residual) -> NDArray[np.float64]:
    """Periodograms of blocks, averaged over bands in the sectors around the fast and the slow axis."""
    px = left.pixel_size_angstrom
    side = max(8, round(BLOCK_ANGSTROM / px))
    rows, columns = (n // side for n in left.values.shape)
    cut = (slice(rows * side), slice(columns * side))

    def tiles(values: NDArray[np.floating]) -> NDArray[np.float32]:
        shaped = values[cut].reshape(rows, side, columns, side).swapaxes(1, 2)
        return np.ascontiguousarray(shaped.reshape(-1, side, side), np.float32)

    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    counted = tiles(left.counted.astype(np.float32))
    norm = np.einsum("byx,yx->b", counted, window**2)
    good = counted.mean(axis=(1, 2)) > 0.5
    power = np.abs(np.fft.fft2(tiles(left.values)[good] * window)) ** 2 / norm[good, None, None] * px**2
    fy, fx = np.meshgrid(*(np.abs(np.fft.fftfreq(side, px)),) * 2, indexing="ij")
    band = np.searchsorted(FREQUENCIES, np.hypot(fy, fx), side="right") - 1
    bands = len(FREQUENCIES) - 1
    spectra = []
    for sector in (fx >= fy, fx < fy):
        for k in range(bands):
            chosen = sector & (band == k)
            spectra.append(power[:, chosen].mean(axis=1) if chosen.any() else np.full(len(power), np.nan))
    return np.stack(spectra, axis=1)
