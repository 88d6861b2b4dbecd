from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sim.specimen import DEFAULT_PREVALENCE, Specimen
from stemctx_core.chemistry.classes import Role, Sublattice
from stemctx_core.errors import InputError


def test_a_region_shows_the_same_sites_as_a_larger_one_around_it() -> None:
    specimen = Specimen(seed=5)
    large = specimen.columns_in(-12.0, -7.0, 8.0, 15.0)
    small = specimen.columns_in(1.0, 2.0, 5.5, 4.0)
    within = np.all((large.positions_nm >= (1.0, 2.0)) & (large.positions_nm < (5.5, 4.0)), axis=1)
    kept = large.chosen(within)
    order_small = np.lexsort(small.positions_nm.T)
    order_kept = np.lexsort(kept.positions_nm.T)
    np.testing.assert_array_equal(small.positions_nm[order_small], kept.positions_nm[order_kept])
    np.testing.assert_array_equal(small.species[order_small], kept.species[order_kept])
    assert small.is_defect.any()


def test_far_from_the_origin_the_lattice_goes_on() -> None:
    specimen = Specimen(seed=1)
    field = specimen.columns_in(80_000.0, -90_000.0, 80_010.0, -89_990.0)
    per_cell = specimen.host.a_angstrom**2 * np.sqrt(3) / 2 / 100
    assert len(field) == pytest.approx(2 * 100 / per_cell, rel=0.02)


def test_neighbours_stand_a_bond_apart() -> None:
    specimen = Specimen(seed=2)
    field = specimen.columns_in(0, 0, 10, 10)
    metal, chalcogen = (field.positions_nm[field.sublattice == s] for s in range(2))
    central = metal[np.all((metal > 1) & (metal < 9), axis=1)]
    distances = cKDTree(chalcogen).query(central, k=3)[0]
    bond = specimen.host.a_angstrom / 10 / np.sqrt(3)
    assert distances.mean() == pytest.approx(bond, abs=0.0005)
    # Two independent displacements of 0.03 Å along the bond.
    assert distances.std() == pytest.approx(0.003 * np.sqrt(2), rel=0.15)


def test_prevalence_is_as_asked_for_on_each_sublattice() -> None:
    specimen = Specimen(seed=3)
    field = specimen.columns_in(0, 0, 120, 120)
    sought = {c.role for c in specimen.candidates if c.is_defect}
    assert sought <= DEFAULT_PREVALENCE.keys()
    assert set(np.unique(field.role[field.is_defect])) == sought
    for role in sought:
        rate = DEFAULT_PREVALENCE[role]
        sublattice = next(c.sublattice for c in specimen.candidates if c.role is role)
        of = field.sublattice == tuple(Sublattice).index(sublattice)
        count, sites = int((field.role[of] == role.value).sum()), int(of.sum())
        assert abs(count - rate * sites) < 4 * np.sqrt(rate * sites), role


def test_defects_are_scattered_without_regard_to_each_other() -> None:
    """The nearest neighbour among defects is as far as for points thrown at random."""
    field = Specimen(seed=4).columns_in(0, 0, 120, 120)
    places = field.positions_nm[field.species == "vac_Se"]
    central = places[np.all((places > 3) & (places < 117), axis=1)]
    nearest = cKDTree(places).query(central, k=2)[0][:, 1]
    density = len(places) / 120**2
    assert nearest.mean() == pytest.approx(0.5 / np.sqrt(density), rel=0.05)


def test_seeds_make_different_specimens_and_none_makes_no_dopant() -> None:
    box = (0.0, 0.0, 20.0, 20.0)
    first, second = Specimen(seed=1).columns_in(*box), Specimen(seed=2).columns_in(*box)
    assert set(map(tuple, first.lattice_index[first.is_defect])) != set(
        map(tuple, second.lattice_index[second.is_defect])
    )
    undoped = Specimen(dopant=None).columns_in(*box)
    assert Role.DOPANT.value not in undoped.role
    assert Role.CHALCOGEN_VACANCY.value in undoped.role


def test_prevalence_can_be_chosen_and_is_checked() -> None:
    all_doped = Specimen(prevalence={Role.DOPANT: 0.997, Role.METAL_VACANCY: 0.003}).columns_in(0, 0, 5, 5)
    assert "W" not in all_doped.species
    with pytest.raises(InputError, match="add up to no more than 1"):
        Specimen(prevalence={Role.DOPANT: 1.2})
    with pytest.raises(InputError, match="no host 'Graphene'"):
        Specimen("Graphene")
