"""Lattices found in frames, as the tests of the lattice need them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stemctx_core.chemistry import materials
from stemctx_core.errors import LatticeError
from stemctx_core.lattice import SiteGrid, find_sites
from stemctx_core.simulation.optics import Optics
from tests.core.frames import Frame

WSE2 = materials.host("WSe2")
LAADF = Optics(80.0, 30.0, 35.0, 70.0, 0.40)


def sites_of(
    frame: Frame, host: str = "WSe2", *, ratio: float | None = None, hint: float | None = -1.0
) -> SiteGrid:
    """Find the sites with the true ratio and pixel size, where no other is given."""
    return find_sites(
        frame.image,
        materials.host(host),
        frame.expected_ratio if ratio is None else ratio,
        frame.pixel_size_angstrom if hint == -1.0 else hint,
    )


def refusal(image: NDArray, hint: float | None = 0.2, host: str = "WSe2") -> LatticeError:
    with pytest.raises(LatticeError) as caught:
        find_sites(image, materials.host(host), 0.78, hint)
    assert caught.value.reason
    assert caught.value.fix
    return caught.value


def assert_indices_place_the_sites(grid: SiteGrid, within_px: float = 1.0) -> None:
    """Position = origin + index · basis (+ bond on the chalcogen), and each site has an index of its own."""
    ideal = grid.cell_index @ grid.basis_px + (grid.sublattice == 1)[:, None] * grid.bond_px
    residual = grid.positions_px - ideal
    assert np.abs(residual - np.median(residual, axis=0)).max() < within_px
    keys = np.column_stack([grid.cell_index, grid.sublattice])
    assert len(np.unique(keys, axis=0)) == len(grid)
