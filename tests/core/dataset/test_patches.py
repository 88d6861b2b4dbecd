"""Rendered patches against a direct sum of the columns, for every class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role, Sublattice, candidates
from stemctx_core.contrast.features import projection
from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.contrast.patches import inside_disc, sample_offsets
from stemctx_core.dataset.patches import neighbour_defects, render_patches
from stemctx_core.encoding.scene_columns import scene_tables
from stemctx_core.errors import InputError
from stemctx_core.scene import Nuisance, Scene, host_rows
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_STILL = Nuisance(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_LISTED = candidates("WSe2", ("V", "Re"), antisites=True, complexes=True)
_DISC = inside_disc()


def _scene(dose: float = 1e9, nuisance: Nuisance = _STILL) -> Scene:
    optics = Optics(80.0, 30.0, 70.0, 200.0, 0.4)
    return Scene(materials.host("WSe2"), _LISTED, optics, dose, 0.03, 1.0, nuisance)


def _direct_sum(scene: Scene, row: int, other: dict[int, int]) -> np.ndarray:
    """Mean patch of a candidate, neighbours as in the host but for `other` (place in the neighbourhood: row)."""
    tables = scene_tables(shipped_library(), scene).astype(float)
    metal, chalcogen = host_rows(scene.candidates)
    near, a = neighbourhood(scene.candidates[row].sublattice), scene.host.a_angstrom
    total = np.full(len(sample_offsets()), scene.background * max(tables[metal, 0], tables[chalcogen, 0]))
    steps = np.arange(tables.shape[1]) * SQUARED_STEP
    for k, (position, on_metal) in enumerate(zip(near.positions, near.on_metal, strict=True)):
        which = row if k == 0 else other.get(k, metal if on_metal else chalcogen)
        squared = np.sum((sample_offsets() - position) ** 2, axis=1) * a * a
        total += np.where(squared < REACH_ANGSTROM**2, np.interp(squared, steps, tables[which]), 0)
    return total


def test_every_class_is_the_sum_of_its_columns() -> None:
    scene = _scene()
    rendered = render_patches(shipped_library(), scene, 1, np.random.default_rng(1))
    vacancy = next(i for i, c in enumerate(_LISTED) if c.role is Role.CHALCOGEN_VACANCY)
    assert set(rendered.label) == set(range(len(_LISTED)))
    for electrons, row in zip(rendered.electrons, rendered.label, strict=True):
        bonds = (1, 2, 3) if _LISTED[row].vacancy_beside else (None,)
        distances = []
        for bond in bonds:
            mean = (
                _direct_sum(scene, row, {} if bond is None else {bond: vacancy}) * rendered.electrons_per_sample
            )
            distances.append(np.abs((electrons - mean) / np.sqrt(mean)).max())
        assert min(distances) < 5.5, _LISTED[row].species


def test_the_vacancy_beside_a_dopant_takes_each_bond() -> None:
    scene = _scene(1e7)
    row = next(i for i, c in enumerate(_LISTED) if c.vacancy_beside)
    vacancy = next(i for i, c in enumerate(_LISTED) if c.role is Role.CHALCOGEN_VACANCY)
    wanted = np.zeros(len(_LISTED), int)
    wanted[row] = 300
    rendered = render_patches(shipped_library(), scene, wanted, np.random.default_rng(2))
    means = np.array([_direct_sum(scene, row, {bond: vacancy}) for bond in (1, 2, 3)])
    fraction = rendered.electrons / rendered.electrons_per_sample
    bond = np.argmin([np.sum((fraction - mean) ** 2, axis=1) for mean in means], axis=0)
    assert np.bincount(bond, minlength=3).min() > 70
    near = neighbourhood(Sublattice.METAL)
    np.testing.assert_allclose(np.linalg.norm(near.positions[1:4], axis=1), 1 / np.sqrt(3))
    assert not near.on_metal[1:4].any()


def test_the_disc_of_the_features_is_the_same_without_the_rest() -> None:
    scene = _scene(2e4, Nuisance(amplitude=0.05))
    whole, disc = (
        render_patches(shipped_library(), scene, 6, np.random.default_rng(3), only) for only in (False, True)
    )
    np.testing.assert_array_equal(whole.electrons[:, _DISC], disc.electrons[:, _DISC])
    assert whole.electrons[:, ~_DISC].mean() > 1
    assert not disc.electrons[:, ~_DISC].any()
    np.testing.assert_array_equal(whole.electrons @ projection().T, disc.electrons @ projection().T)


def test_each_candidate_as_often_as_asked() -> None:
    wanted = np.arange(len(_LISTED)) % 4
    rendered = render_patches(shipped_library(), _scene(1e4), wanted, np.random.default_rng(4))
    np.testing.assert_array_equal(np.bincount(rendered.label, minlength=len(_LISTED)), wanted)
    assert (rendered.electrons.sum(axis=1) > 0).all()


def test_what_a_defective_neighbour_is() -> None:
    for sublattice in Sublattice:
        rows, share = neighbour_defects(_LISTED, sublattice, of_every_kind=True)
        kinds = {_LISTED[i] for i in rows}
        assert kinds == {
            c for c in _LISTED if c.sublattice is sublattice and c.is_defect and not c.vacancy_beside
        }
        assert share.sum() == pytest.approx(1.0)
    assert {_LISTED[i].species for i in neighbour_defects(_LISTED, Sublattice.METAL)[0]} == {"V_W", "Re_W"}
    assert {_LISTED[i].role for i in neighbour_defects(_LISTED, Sublattice.CHALCOGEN)[0]} == {
        Role.CHALCOGEN_VACANCY
    }
    undoped = candidates("WSe2")
    assert [undoped[i].role for i in neighbour_defects(undoped, Sublattice.METAL)[0]] == [Role.METAL_VACANCY]


def test_more_defects_around_change_the_patches() -> None:
    crowded = replace(_STILL, defects=0.5)
    for every in (False, True):
        rendered = render_patches(
            shipped_library(), _scene(1e7, crowded), 30, np.random.default_rng(5), every_defect=every
        )
        perfect = render_patches(shipped_library(), _scene(1e7), 30, np.random.default_rng(5))
        host = rendered.label == host_rows(_LISTED)[0]
        assert rendered.electrons[host].std(axis=0).mean() > 3 * perfect.electrons[host].std(axis=0).mean()


@pytest.mark.parametrize("dose", [0.0, -5.0, float("nan"), float("inf")])
def test_a_dose_that_counts_nothing_is_refused(dose: float) -> None:
    with pytest.raises(InputError, match="above zero"):
        render_patches(shipped_library(), _scene(dose), 1, np.random.default_rng(1))


def test_no_patches_are_refused() -> None:
    with pytest.raises(InputError, match="Give 1 or more"):
        render_patches(shipped_library(), _scene(), 0, np.random.default_rng(1))


def test_a_complex_needs_the_vacancy_it_holds() -> None:
    listed = tuple(c for c in _LISTED if c.role is not Role.CHALCOGEN_VACANCY)
    with pytest.raises(InputError, match="single vacancy"):
        render_patches(shipped_library(), replace(_scene(), candidates=listed), 1, np.random.default_rng(1))
