"""Predicted mean and covariance of the features against patches that were really rendered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.classes import Role
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group
from stemctx_core.dataset.truth import random_case, random_truth
from stemctx_core.encoding import Nuisance, encode
from stemctx_core.evaluation.benchmark import benchmark_scene, physics_log_likelihood
from stemctx_core.features import projection
from stemctx_core.simulation.library import shipped_library


@pytest.mark.parametrize("dose", [1e3, 1e4, 1e5])
def test_whitened_distance_from_the_truth_is_chi_squared(dose: float) -> None:
    rng = np.random.default_rng(5)
    cases = benchmark_cases()
    squared = []
    for k in rng.choice(len(cases), 12, replace=False):
        scene = benchmark_scene(cases[k], dose, rng)
        group = make_group(shipped_library(), scene, 40, rng)
        features = group.patches @ projection().T.astype(np.float32)
        distance = features - group.encoded.mean[group.label]
        white = np.einsum("nij,nj->ni", group.encoded.whiten[group.label], distance)
        squared.append(np.mean(white**2))
    assert np.median(squared) == pytest.approx(1.0, abs=0.12)


def test_each_nuisance_widens_the_covariance() -> None:
    case = benchmark_cases()[100]
    scene = benchmark_scene(case, 1e5, np.random.default_rng(1))
    plain = encode(shipped_library(), scene)
    for name, size in (
        ("jitter_angstrom", 0.1),
        ("shift_angstrom", 0.1),
        ("amplitude", 0.1),
        ("gain", 0.05),
        ("ratio", 0.05),
        ("background", 0.05),
        ("sigma_angstrom", 0.05),
        ("response", 0.05),
        ("defects", 0.1),
    ):
        wider = encode(shipped_library(), replace(scene, nuisance=replace(scene.nuisance, **{name: size})))
        assert (wider.scale >= plain.scale * 0.999).all(), name
        assert (wider.scale > plain.scale * 1.01).any(), name


def test_response_error_spares_the_host() -> None:
    scene = benchmark_scene(benchmark_cases()[0], 1e6, np.random.default_rng(1))
    sure = encode(shipped_library(), replace(scene, nuisance=Nuisance(response=0.0)))
    unsure = encode(shipped_library(), replace(scene, nuisance=Nuisance(response=0.05)))
    host = np.array([not c.is_defect for c in scene.candidates])
    np.testing.assert_allclose(unsure.scale[host], sure.scale[host])
    dopant = [c.role for c in scene.candidates].index(Role.DOPANT)
    assert unsure.log_det[dopant] > sure.log_det[dopant]


def test_physics_alone_already_separates_far_dopants() -> None:
    rng = np.random.default_rng(2)
    case = next(c for c in benchmark_cases() if c.host.name == "WSe2" and c.dopants == ("V",))
    group = make_group(shipped_library(), benchmark_scene(case, 1e5, rng), 30, rng)
    right = physics_log_likelihood(group).argmax(axis=1) == group.label
    assert right.mean() > 0.9


def test_a_candidate_list_of_any_length() -> None:
    rng = np.random.default_rng(4)
    for dopants in (1, 2, 3):
        case = random_case(rng, dopants, 235.0)
        group = make_group(shipped_library(), random_truth(rng, case), 2, rng)
        assert group.encoded.mean.shape[0] == 6 + dopants
        assert set(group.label) == set(range(6 + dopants))


def test_a_group_is_a_pure_function_of_its_seed() -> None:
    def group():
        rng = np.random.default_rng([1, 2])
        return make_group(shipped_library(), random_truth(rng, random_case(rng, 1, 235.0)), 3, rng)

    first, second = group(), group()
    np.testing.assert_array_equal(first.patches, second.patches)
    np.testing.assert_array_equal(first.encoded.whiten, second.encoded.whiten)
