"""The displacement field around defects: its table, its signs, and that fields add up."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Candidate, Role, candidates
from stemctx_core.dataset.sites import honeycomb
from stemctx_core.simulation.relaxation import (
    SHELLS,
    covalent_radius_angstrom,
    radial_displacement_angstrom,
    relaxation_angstrom,
)

WSE2 = materials.host("WSe2")
LISTED = candidates("WSe2", ("V", "Au"), ("S", "Te"), antisites=True, complexes=True)


def of(role: Role, species: str = "") -> Candidate:
    return next(c for c in LISTED if c.role is role and c.species.startswith(species))


def moved_around(*kinds: tuple[int, Candidate]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Ideal sites, their displacement, and where the defects stand; the first index is a metal, the second a chalcogen."""
    sites = honeycomb(WSE2.a_angstrom, 0.3, (0.0, 0.0), (40.0, 40.0))
    middle = np.hypot(*(sites.positions_angstrom - 20).T)
    nearest = [int(np.where(sites.sublattice == s, middle, np.inf).argmin()) for s in (0, 1)]
    host = [next(i for i, c in enumerate(LISTED) if c.role is r) for r in (Role.METAL, Role.CHALCOGEN_PAIR)]
    column = np.where(sites.sublattice == 0, *host).astype(np.int64)
    for sublattice, kind in kinds:
        column[nearest[sublattice]] = LISTED.index(kind)
    moved = relaxation_angstrom(sites.positions_angstrom, column, LISTED, "WSe2", np.random.default_rng(0))
    return sites.positions_angstrom, moved, nearest


def test_neighbours_of_a_divacancy_move_towards_it_as_the_table_says() -> None:
    kind = of(Role.CHALCOGEN_DIVACANCY)
    positions, moved, (_, site) = moved_around((1, kind))
    away = positions - positions[site]
    distance = np.hypot(*away.T) / WSE2.a_angstrom
    table = radial_displacement_angstrom("WSe2", kind)
    assert table[0] < -0.1
    for shell, expected in zip(SHELLS, table, strict=True):
        here = np.abs(distance - shell) < 0.02
        radial = np.sum(moved[here] * away[here], axis=1) / np.hypot(*away[here].T)
        np.testing.assert_allclose(radial, expected, atol=1e-9)
    assert np.all(moved[distance > 1.85] == 0)
    assert np.all(moved[site] == 0)


def test_a_larger_atom_pushes_and_a_smaller_one_pulls() -> None:
    au, tellurium, sulphur = of(Role.DOPANT, "Au"), of(Role.SUBSTITUTION, "Te"), of(Role.SUBSTITUTION, "S_")
    assert radial_displacement_angstrom("WSe2", au)[0] > 0.05
    assert (
        radial_displacement_angstrom("WSe2", tellurium)[0]
        > 0
        > radial_displacement_angstrom("WSe2", sulphur)[0]
    )
    both = radial_displacement_angstrom("WSe2", of(Role.DOUBLE_SUBSTITUTION, "Te"))
    np.testing.assert_allclose(both, 2 * radial_displacement_angstrom("WSe2", tellurium))
    assert covalent_radius_angstrom("Te") == pytest.approx(1.38)


def test_fields_of_two_defects_add_up() -> None:
    vacancy, gold = of(Role.CHALCOGEN_VACANCY), of(Role.DOPANT, "Au")
    _, one, _ = moved_around((1, vacancy))
    _, other, _ = moved_around((0, gold))
    _, both, _ = moved_around((1, vacancy), (0, gold))
    np.testing.assert_allclose(both, one + other, atol=1e-12)


def test_a_metal_antisite_leaves_its_axis_for_a_hollow_site() -> None:
    positions, moved, (_, site) = moved_around((1, of(Role.METAL_ANTISITE)))
    assert np.hypot(*moved[site]) == pytest.approx(0.71)
    hollow = positions[site] + moved[site] / 0.71 * WSE2.a_angstrom / np.sqrt(3)
    # The hollow site is as far from the six columns around it as a metal from its chalcogens.
    around = np.sort(np.hypot(*(positions - hollow).T))[:6]
    np.testing.assert_allclose(around, WSE2.a_angstrom / np.sqrt(3), rtol=1e-6)


def test_every_host_dopant_and_role_has_a_field_below_half_an_angstrom() -> None:
    hosts = {**materials.hosts(), **materials.held_out_hosts()}
    for name, host in hosts.items():
        dopants = tuple(m for m in columns.METALS if m != host.metal)
        others = tuple(x for x in columns.CHALCOGENS if x != host.chalcogen)
        for candidate in candidates(name, dopants, others, antisites=True, complexes=True):
            field = radial_displacement_angstrom(name, candidate)
            assert field.shape == (5,)
            assert np.abs(field).max() < 0.5
            assert candidate.is_defect == bool(np.any(field)) or candidate.column in ("Mo", "W")
