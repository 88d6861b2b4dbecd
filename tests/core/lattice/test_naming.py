"""The sublattices told apart."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.chemistry.classes import Role
from stemctx_core.simulation.optics import Optics
from tests.core.frames import HAADF, MAADF, FrameRecipe, expected_ratio, make_frame, score
from tests.core.lattice.found import LAADF, assert_indices_place_the_sites, sites_of


@pytest.mark.parametrize("optics", [HAADF, MAADF, LAADF], ids=["haadf", "maadf", "laadf"])
@pytest.mark.parametrize("host", ["MoS2", "MoSe2", "MoTe2", "WS2", "WTe2"])
def test_sublattices_are_named_from_the_ratio(host: str, optics: Optics) -> None:
    for seed in range(2):
        frame = make_frame(FrameRecipe(host=host, optics=optics, seed=seed))
        grid = sites_of(frame, host)
        found = score(frame, grid.positions_px, grid.sublattice)
        assert (found.recall, found.naming) == (1.0, 1.0)
        ratio = expected_ratio(host, optics)
        assert grid.naming.startswith("ratio" if abs(np.log(ratio)) > 0.3 else ("ratio", "columns"))


@pytest.mark.parametrize("wrong_by", [0.85, 1.0, 1.15])
def test_columns_decide_where_the_ratio_cannot(wrong_by: float) -> None:
    """WSe2 at 50-120 mrad shows both sublattices alike: only X has columns of half the intensity."""
    for seed in range(6):
        frame = make_frame(FrameRecipe(optics=MAADF, seed=seed))
        # 1.03 and not 0.96 since pairs of atoms stand as far apart in the library as they do in the crystal.
        assert frame.expected_ratio == pytest.approx(1.03, abs=0.02)
        grid = sites_of(frame, ratio=frame.expected_ratio * wrong_by)
        assert grid.naming.startswith("columns")
        assert score(frame, grid.positions_px, grid.sublattice).naming == 1.0


@pytest.mark.parametrize("wrong_by", [0.85, 1.15])
def test_a_ratio_15_percent_off_still_names(wrong_by: float) -> None:
    for host in ("WSe2", "MoSe2", "WTe2", "MoS2"):
        frame = make_frame(FrameRecipe(host=host, seed=3))
        grid = sites_of(frame, host, ratio=frame.expected_ratio * wrong_by)
        assert score(frame, grid.positions_px, grid.sublattice).naming == 1.0, host


def test_a_frame_that_cannot_tell_says_so() -> None:
    """Both sublattices alike and no vacancy: named by the ratio, and called ambiguous."""
    recipe = FrameRecipe(optics=MAADF, prevalence={Role.DOPANT: 0.0})
    grid = sites_of(make_frame(recipe))
    assert grid.naming.startswith("ambiguous")


def test_swapped_is_the_other_naming_of_the_same_sites() -> None:
    grid = sites_of(make_frame(FrameRecipe(shear=0.0, warp_angstrom=0.0)))
    other = grid.swapped()
    assert np.array_equal(other.positions_px, grid.positions_px)
    assert np.array_equal(other.sublattice, 1 - grid.sublattice)
    assert np.allclose(other.bond_px, -grid.bond_px)
    assert np.array_equal(other.swapped().sublattice, grid.sublattice)
    for named in (grid, other):
        assert_indices_place_the_sites(named)
