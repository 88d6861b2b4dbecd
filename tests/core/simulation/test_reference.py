"""The reference: supercells on whole pixels, thermal displacements, the quadrature over a site, and multislice of them."""

import numpy as np
import pytest

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.simulation.multislice import (
    MultisliceSettings,
    required_sampling_angstrom,
    ring_response,
)
from stemctx_core.simulation.truth.held_out import held_out_cells
from stemctx_core.simulation.truth.reference import (
    SOURCE_SIGMA_ANGSTROM,
    Probe,
    site_positions,
    site_signal,
    supercell_rings,
    vacuum_rings,
)
from stemctx_core.simulation.truth.supercells import (
    Grid,
    atoms_at_rest,
    frozen_phonons,
    grid_for,
    perfect,
)

WSE2 = materials.host("WSe2")
HAADF = slice(14, 40)


def test_a_perfect_cell_is_the_lattice() -> None:
    cell = perfect(WSE2)
    places = cell.places_angstrom
    assert len(places) == 60
    for index, site in enumerate(cell.sites):
        apart = np.sort(np.linalg.norm(cell.offset_angstrom(places, places[index]), axis=1))
        # Three unlike neighbours at a/√3, then six like ones at a.
        np.testing.assert_allclose(apart[1:4], WSE2.a_angstrom / np.sqrt(3))
        np.testing.assert_allclose(apart[4:10], WSE2.a_angstrom)
        assert site.column == cell.native(site)
    assert not cell.defects()


@pytest.mark.parametrize("name", list(materials.hosts()))
@pytest.mark.parametrize("kv", [60.0, 80.0, 200.0])
def test_grids_reach_the_outer_angle_and_have_friendly_sides(name: str, kv: float) -> None:
    host = materials.host(name)
    grid = grid_for(host, kv, 200.0)
    assert max(grid.pixel_angstrom(host)) <= required_sampling_angstrom(kv, 200.0)
    for side in grid.shape_px:
        for prime in (2, 3, 5, 7):
            while side % prime == 0:
                side //= prime
        assert side == 1


def test_a_grid_beyond_all_is_refused() -> None:
    with pytest.raises(InputError, match="finer than any grid"):
        grid_for(WSE2, 300.0, 400.0)


def test_thermal_displacements_are_whole_pixels_of_the_right_size() -> None:
    grid = grid_for(WSE2, 80.0, 200.0)
    cell = perfect(WSE2)
    rest = atoms_at_rest(cell, grid)
    rng = np.random.default_rng(1)
    moved = [
        [(a.x_px - b.x_px, a.y_px - b.y_px) for a, b in zip(frozen_phonons(cell, grid, rng), rest, strict=True)]
        for _ in range(200)
    ]
    shifts = np.array(moved) * grid.pixel_angstrom(WSE2)
    for element in ("W", "Se"):
        own = shifts[:, [a.element == element for a in rest]].reshape(-1)
        rms = columns.thermal_rms_angstrom(element)
        assert np.sqrt(np.mean(own**2)) == pytest.approx(rms, rel=0.02)
        assert abs(own.mean()) < 3 * rms / np.sqrt(len(own))


@pytest.mark.parametrize("powers", [(0, 0), (2, 0), (1, 1), (3, 0), (2, 2), (4, 0), (0, 4), (3, 2), (5, 0)])
def test_the_sum_over_a_site_is_a_gaussian_source_to_degree_five(powers: tuple[int, int]) -> None:
    cell = perfect(WSE2)
    x, y = np.moveaxis(site_positions(cell)[0] - cell.places_angstrom[0], -1, 0) / SOURCE_SIGMA_ANGSTROM
    moment = {0: 1, 2: 1, 4: 3}
    expected = 0 if powers[0] % 2 or powers[1] % 2 else moment[powers[0]] * moment[powers[1]]
    assert site_signal(x ** powers[0] * y ** powers[1]) == pytest.approx(expected, abs=1e-12)


def test_held_out_cells_hold_every_host_twice_and_every_class() -> None:
    cells = held_out_cells()
    assert len(cells) == 12
    assert sorted(c.cell.host.name for c in cells) == sorted(2 * list(materials.hosts()))
    assert {c.probe.high_tension_kv for c in cells} == {60.0, 80.0, 200.0}
    kinds = set()
    for held_out in cells:
        cell, host = held_out.cell, held_out.cell.host
        for index in cell.defects():
            site = cell.sites[index]
            column = site.column.replace(host.metal, "M").replace(host.chalcogen, "X")
            if site.sublattice is Sublattice.METAL and column in columns.METALS:
                column = "D"
            elif column in columns.CHALCOGENS or "+" in column:
                column = "+".join("Y" if part in columns.CHALCOGENS else part for part in column.split("+"))
            kinds.add((site.sublattice.value, column))
    assert kinds >= {
        *(("M", c) for c in ("D", "vacant", "X+X")),
        *(("X", c) for c in ("X", "vacant", "O+X", "M", "Y+Y")),
    }
    assert kinds & {("X", "X+Y"), ("X", "Y+X")}
    # The same seed makes the same atoms; another configuration does not.
    again = held_out_cells()[3]
    assert again.atoms(1) == cells[3].atoms(1) != cells[3].atoms(0)
    assert len({c.part_name(k) for c in cells for k in range(3)}) == 36


@pytest.mark.abtem
def test_one_column_is_what_the_column_library_simulates() -> None:
    """A supercell with one column left, against the square box of the library: only the box differs."""
    grid = grid_for(WSE2, 80.0, 200.0)
    cell = perfect(WSE2)
    radii = np.array([0.0, 0.4, 0.8, 1.6])
    own = MultisliceSettings(80.0, outer_mrad=200.0)
    at = own.grid_points // 2 * own.sampling_angstrom
    for site, planes in ((0, (0.0,)), (1, (-0.5, 0.5))):
        atoms = [a for a in atoms_at_rest(cell, grid) if a.site == site]
        line = cell.places_angstrom[site] + radii[:, None] * np.array([1.0, 0.0])
        rings = supercell_rings(WSE2, atoms, grid, line, Probe(80.0))[:, HAADF].sum(axis=1)
        alone = ring_response(
            [(a.element, at, at, plane) for a, plane in zip(atoms, planes, strict=True)],
            WSE2.separation_angstrom,
            at + radii[:, None] * np.array([1.0, 0.0]),
            own,
        )[:, 7:].sum(axis=1)
        np.testing.assert_allclose(rings, alone, atol=0.015 * alone[0])


@pytest.mark.abtem
def test_one_slice_a_plane_is_as_good_as_thin_slices() -> None:
    """The wave has to go just as far between the two chalcogens as they are apart."""
    grid = grid_for(WSE2, 80.0, 200.0)
    cell = perfect(WSE2)
    atoms = [a for a in atoms_at_rest(cell, grid) if a.site == 1]
    at = cell.places_angstrom[1][None]
    planes, thin = (
        supercell_rings(WSE2, atoms, grid, at, Probe(80.0, slice_angstrom=s))[0] for s in (None, 0.42)
    )
    assert planes[HAADF].sum() == pytest.approx(thin[HAADF].sum(), rel=0.003)


@pytest.mark.abtem
def test_the_beam_without_a_specimen_is_its_disc() -> None:
    grid = grid_for(WSE2, 80.0, 200.0)
    rings = vacuum_rings(WSE2, grid, Probe(80.0))
    assert rings.sum() == pytest.approx(1, abs=1e-3)
    assert rings[:6].sum() > 0.9
    assert rings[8:].sum() < 1e-3


@pytest.mark.abtem
def test_a_grid_too_coarse_is_an_error() -> None:
    with pytest.raises(LibraryError, match=r"cuts all signal beyond 1\d\d mrad at 200 kV.*sampling of 0\.0418"):
        supercell_rings(
            WSE2, atoms_at_rest(perfect(WSE2), Grid(30, 16)), Grid(30, 16), np.zeros((1, 2)), Probe(200.0)
        )
