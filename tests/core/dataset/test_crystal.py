"""Crystals over a field: the lattice, who stands where, boundaries, holes, edges and second layers."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import REAL_PREVALENCE, Role
from stemctx_core.dataset.crystal import Crystal, CrystalRecipe, grow_crystal
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line, SecondLayer
from stemctx_core.errors import InputError

WSE2 = materials.host("WSe2")
A = WSE2.a_angstrom
BOND = A / np.sqrt(3)
EXTENT = (150.0, 120.0)
IDEAL = CrystalRecipe(jitter_angstrom=0.0, relaxation=0.0)


def grow(recipe: CrystalRecipe, seed: int = 0, extent: tuple[float, float] = EXTENT) -> Crystal:
    return grow_crystal(WSE2, ("V",), recipe, extent, np.random.default_rng(seed))


def with_(recipe: CrystalRecipe = IDEAL, **changes: object) -> CrystalRecipe:
    return msgspec.structs.replace(recipe, **changes)


def well_inside(crystal: Crystal, margin: float = 0.0) -> np.ndarray:
    p = crystal.lattice_angstrom
    return np.all((p > margin) & (p < np.array(EXTENT) - margin), axis=1)


@given(st.floats(0, 6.28), st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
@settings(max_examples=20, deadline=None)
def test_a_honeycomb_at_any_rotation_and_offset(rotation: float, offset: tuple[float, float]) -> None:
    crystal = grow(with_(rotation_rad=rotation, offset_angstrom=offset))
    p, sub = crystal.positions_angstrom, crystal.sublattice
    inner = well_inside(crystal, 2.0)
    distance, neighbour = cKDTree(p).query(p, k=4)
    np.testing.assert_allclose(distance[inner, 1:], BOND, rtol=1e-6)
    assert np.all(sub[neighbour[inner, 1:]] != sub[inner, None])
    density = inner.sum() / ((EXTENT[0] - 4) * (EXTENT[1] - 4))
    assert density == pytest.approx(4 / (np.sqrt(3) * A**2), rel=0.04)
    middle = np.array(EXTENT) / 2 + np.array(offset)
    assert np.hypot(*(p[sub == 0] - middle).T).min() < 1e-6
    assert crystal.valid.all()


def test_every_role_is_met_as_often_as_it_is_asked_for() -> None:
    recipe = with_(substitutes=("S", "Te"), antisites=True, complexes=True, prevalence={Role.DOPANT: 0.05})
    crystal = grow(recipe, extent=(800.0, 800.0))
    rates = {**REAL_PREVALENCE, Role.DOPANT: 0.05}
    on_metal = {c.role: c.sublattice.value == "M" for c in crystal.candidates}
    for role, rate in rates.items():
        sites = np.count_nonzero(crystal.sublattice == (0 if on_metal[role] else 1))
        expected = rate * sites
        # A vacancy beside a dopant by chance, or put there on purpose, moves these three a little.
        slack = 0.12 * expected if role in (Role.DOPANT, Role.CHALCOGEN_VACANCY) else 0.0
        if role is not Role.DOPANT_WITH_VACANCY:
            assert abs((crystal.role == role.value).sum() - expected) < 5 * np.sqrt(expected) + slack, role
    assert (crystal.role == Role.DOPANT_WITH_VACANCY.value).sum() > 0


def test_a_dopant_is_called_one_with_a_vacancy_where_it_has_one_and_nowhere_else() -> None:
    crystal = grow(with_(complexes=True, prevalence={Role.DOPANT: 0.1, Role.DOPANT_WITH_VACANCY: 0.05}))
    missing = crystal.lattice_angstrom[crystal.role == Role.CHALCOGEN_VACANCY.value]
    beside = cKDTree(missing).query(crystal.lattice_angstrom)[0] < 1.1 * BOND
    assert beside[crystal.role == Role.DOPANT_WITH_VACANCY.value].all()
    assert not beside[crystal.role == Role.DOPANT.value].any()


def test_clustered_dopants_are_as_many_but_beside_each_other() -> None:
    def lonely(crystal: Crystal) -> tuple[int, float]:
        dopants = crystal.lattice_angstrom[crystal.role == Role.DOPANT.value]
        return len(dopants), float((cKDTree(dopants).query(dopants, k=2)[0][:, 1] > 1.1 * A).mean())

    spread, grouped = (lonely(grow(with_(clustering=c, prevalence={Role.DOPANT: 0.04}))) for c in (0.0, 0.8))
    assert grouped[0] == spread[0]
    assert spread[1] > 0.6
    assert grouped[1] < 0.1


@pytest.mark.parametrize("kind", ["rotation", "mirror"])
def test_two_grains_meet_along_a_line(kind: str) -> None:
    line = Line(azimuth_rad=0.3, offset=0.05)
    crystal = grow(with_(boundary=GrainBoundary(kind, 0.38, line)))  # type: ignore[arg-type]
    p = crystal.lattice_angstrom
    beyond = line.beyond(p, EXTENT, np.zeros(3))
    assert np.all((beyond > 0) == (crystal.grain == 1))
    assert not crystal.valid[np.abs(beyond) < A].any()
    assert crystal.valid[np.abs(beyond) > 1.1 * A].all()
    assert cKDTree(p).query(p, k=2)[0][:, 1].min() > 0.7 * BOND
    turned = [_lattice_angle(crystal, g) for g in (0, 1)]
    if kind == "rotation":
        assert (turned[1] - turned[0] - 0.38 + np.pi / 6) % (np.pi / 3) - np.pi / 6 == pytest.approx(
            0, abs=1e-6
        )


def test_a_twin_is_the_mirror_image() -> None:
    line = Line(azimuth_rad=0.7, offset=0.0)
    crystal = grow(with_(boundary=GrainBoundary("mirror", 0.0, line)))
    normal = np.array([np.sin(0.7), np.cos(0.7)])
    p, sub = crystal.lattice_angstrom, crystal.sublattice
    second = np.flatnonzero((crystal.grain == 1) & well_inside(crystal, 30.0))
    depth = (p[second] - np.array(EXTENT) / 2) @ normal
    mirrored = p[second] - 2 * depth[:, None] * normal
    first = np.flatnonzero(crystal.grain == 0)
    distance, nearest = cKDTree(p[first]).query(mirrored)
    # An image beyond the field has no partner; all others stand on a site of the same sublattice.
    inside = np.all((mirrored > 0) & (mirrored < np.array(EXTENT)), axis=1)
    assert inside.sum() > 100
    assert distance[inside].max() < 1e-6
    assert np.all(sub[first][nearest[inside]] == sub[second][inside])


def _lattice_angle(crystal: Crystal, grain: int) -> float:
    metal = crystal.lattice_angstrom[(crystal.grain == grain) & (crystal.sublattice == 0)]
    distance, neighbour = cKDTree(metal).query(metal, k=2)
    step = metal[neighbour[:, 1]] - metal
    angles = np.arctan2(step[:, 0], step[:, 1])[np.abs(distance[:, 1] - A) < 1e-6] % (np.pi / 3)
    return float(np.angle(np.exp(6j * angles).mean()) / 6)


def test_holes_and_the_edge_hold_nothing_and_their_rims_are_not_judged() -> None:
    hole, edge = Hole((0.4, 0.5), 18.0, 0.0), Line(azimuth_rad=0.0, offset=0.3)
    crystal = grow(with_(holes=(hole,), edge=edge))
    p = crystal.lattice_angstrom
    from_hole = np.hypot(*(p - np.array(EXTENT) * [0.4, 0.5]).T) - 18.0
    assert from_hole.min() > 0
    assert p[:, 1].max() <= EXTENT[1] / 2 + 0.3 * min(EXTENT)
    assert not crystal.valid[from_hole < A].any()
    assert 0 < crystal.valid.sum() < len(crystal)
    inside = crystal.void.depth_angstrom(np.array([[0.4 * EXTENT[0], 0.5 * EXTENT[1]], [5.0, 5.0]]))
    assert inside[0] == pytest.approx(18.0)
    assert inside[1] < 0


def test_a_second_layer_covers_one_side_and_is_not_judged() -> None:
    line = Line(azimuth_rad=0.0, offset=0.0)
    crystal = grow(with_(second_layer=SecondLayer(line=line)))
    above = crystal.layer == 1
    assert crystal.lattice_angstrom[above, 1].min() > EXTENT[1] / 2
    assert not crystal.valid[crystal.lattice_angstrom[:, 1] > EXTENT[1] / 2 - A].any()
    inner = above & well_inside(crystal, 5.0) & (crystal.lattice_angstrom[:, 1] > EXTENT[1] / 2 + 3)
    gap, below = cKDTree(crystal.lattice_angstrom[~above]).query(crystal.lattice_angstrom[inner])
    # 2H stacking: metal above chalcogen and chalcogen above metal.
    assert gap.max() < 1e-6
    assert np.all(crystal.sublattice[~above][below] != crystal.sublattice[inner])


def test_relaxation_and_jitter_displace_by_what_they_say() -> None:
    still, loose = grow(IDEAL), grow(with_(jitter_angstrom=0.05))
    np.testing.assert_array_equal(still.positions_angstrom, still.lattice_angstrom)
    moved = loose.positions_angstrom - loose.lattice_angstrom
    assert moved.std() == pytest.approx(0.05, rel=0.05)
    relaxed = grow(with_(relaxation=1.0))
    assert 0 < np.abs(relaxed.positions_angstrom - relaxed.lattice_angstrom).max() < 0.6


def test_a_seed_gives_the_same_crystal_again() -> None:
    recipe = CrystalRecipe(
        substitutes=("S",), antisites=True, complexes=True, clustering=0.5, boundary=GrainBoundary(),
        holes=(Hole(),), edge=Line(offset=0.4), second_layer=SecondLayer(),
    )  # fmt: skip
    one, again, other = grow(recipe, 3), grow(recipe, 3), grow(recipe, 4)
    np.testing.assert_array_equal(one.positions_angstrom, again.positions_angstrom)
    np.testing.assert_array_equal(one.column_index, again.column_index)
    assert len(one) != len(other) or not np.array_equal(one.positions_angstrom, other.positions_angstrom)
    read = msgspec.json.decode(msgspec.json.encode(recipe), type=CrystalRecipe)
    assert read == recipe


@pytest.mark.parametrize(
    "make",
    [
        lambda: grow(with_(prevalence={Role.DOPANT: 1.2})),
        lambda: grow(with_(prevalence={Role.DOPANT: -0.1})),
        lambda: with_(clustering=1.5),
        lambda: with_(jitter_angstrom=float("nan")),
        lambda: Hole(radius_angstrom=-1.0),
        lambda: grow(IDEAL, extent=(0.0, 10.0)),
        lambda: grow_crystal(WSE2, ("Xx",), IDEAL, EXTENT, np.random.default_rng(0)),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: object) -> None:
    with pytest.raises(InputError, match=r"\."):
        make()  # type: ignore[operator]
