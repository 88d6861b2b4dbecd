"""What a response library holds at one energy, and what a detector sees of it before any blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.simulation.interpolation import NodeGrid
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import rayleigh_weights
from stemctx_core.simulation.storage import LibraryFile, unpack


@dataclass(frozen=True)
class HeldEnergy:
    """All columns at one energy.

    Attributes
    ----------
    base
        (columns, radii, rings) in focus.
    file, name
        Where the nodes are, and the energy in their names.
    grid
        Convergences, defoci and astigmatisms of the nodes.
    """

    base: NDArray[np.float64]
    file: LibraryFile
    name: str
    grid: NodeGrid

    @cached_property
    def nodes(self) -> NDArray[np.float32]:
        """(round nodes, columns, radii, rings) differences from the base."""
        return unpack(self.file.array(f"nodes_{self.name}"), self.file.array(f"node_steps_{self.name}"))

    @cached_property
    def astigmatic(self) -> NDArray[np.float32]:
        """(astigmatic nodes, 2, columns, radii, rings): what astigmatism adds, m = 0 and m = 2."""
        steps = self.file.array(f"astigmatic_steps_{self.name}")
        return unpack(self.file.array(f"astigmatic_{self.name}"), steps)

    def seen(
        self, rows: NDArray[np.intp], rings: slice, weights: NDArray[np.float64], optics: Optics
    ) -> NDArray[np.float64]:
        """(rows, radii) mean over all directions, of rings with their weights."""
        seen: NDArray[np.float64] = self.base[rows][..., rings] @ weights
        convergence, defocus = optics.convergence_semi_angle_mrad, abs(optics.defocus_nm)
        low, high = self.grid.convergences_mrad[0], self.grid.convergences_mrad[-1]
        shares = self.grid.round_shares(min(max(convergence, low), high), defocus, optics.inner_mrad)
        for node in np.flatnonzero(np.abs(shares) > 1e-12):
            seen += shares[node] * (self.nodes[node, rows][..., rings] @ weights)
        if optics.astigmatism_nm:
            even, _ = self.grid.astigmatic_shares(convergence, defocus, optics.astigmatism_nm)
            for node in np.flatnonzero(np.abs(even) > 1e-12):
                seen += even[node] * (self.astigmatic[node, 0, rows][..., rings] @ weights)
        return seen

    def turning(
        self, rows: NDArray[np.intp], rings: slice, weights: NDArray[np.float64], optics: Optics
    ) -> NDArray[np.float64]:
        """(rows, radii) the part that turns with the astigmatism, see `ResponseLibrary.astigmatic`."""
        _, odd = self.grid.astigmatic_shares(
            optics.convergence_semi_angle_mrad, optics.defocus_nm, optics.astigmatism_nm
        )
        seen = self.astigmatic[:, 1, rows][..., rings] @ weights.astype(np.float32)
        turning: NDArray[np.float64] = np.tensordot(odd, seen, axes=1)
        return turning


def thermal_base(
    file: LibraryFile, name: str, pairs: Sequence[str], displacements: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(columns, radii, rings) in focus, pairs averaged over the thermal displacement of their two atoms.

    Parameters
    ----------
    name
        Of the energy.
    displacements
        For which the pairs are held (Å).
    """
    singles = file.array(f"singles_{name}").astype(np.float64)
    if not pairs:
        return singles
    averaged = [
        np.tensordot(rayleigh_weights(displacements, columns.relative_motion_angstrom(pair)), stored, axes=1)
        for pair, stored in zip(pairs, file.array(f"pairs_{name}").astype(np.float64), strict=True)
    ]
    return np.concatenate([singles, np.stack(averaged)])
