"""Predicted mean and covariance of the features against patches that were really rendered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.contrast.features import projection
from stemctx_core.contrast.patches import sample_offsets
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group
from stemctx_core.dataset.patches import render_patches
from stemctx_core.dataset.truth import random_case, random_truth
from stemctx_core.encoding.column_features import NODES, column_maps
from stemctx_core.encoding.compositions import (
    COMPOSITION_WIDTH,
    CONTEXT_PARTS,
    CONTEXT_WIDTH,
    composition,
    context_slice,
)
from stemctx_core.encoding.encode import EncodedScene, encode
from stemctx_core.encoding.prediction import predict
from stemctx_core.errors import InputError
from stemctx_core.evaluation.judging import physics_log_likelihood
from stemctx_core.evaluation.scenes import benchmark_scene
from stemctx_core.scene import Missing, Nuisance, Scene, without
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import SQUARED_STEP, response_tables


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


def _scene(dose: float = 1e6, kv: float = 80.0, **extra: object) -> Scene:
    case = next(
        c for c in benchmark_cases() if (c.host.name, c.dopants, c.high_tension_kv) == ("WSe2", ("V",), kv)
    )
    scene = benchmark_scene(case, dose, np.random.default_rng(3))
    return replace(scene, candidates=classes.candidates("WSe2", ["V"], **extra))  # type: ignore[arg-type]


def test_the_predicted_mean_is_that_of_many_patches() -> None:
    scene = _scene(1e7, antisites=True, complexes=True)
    scene = replace(scene, nuisance=replace(scene.nuisance, defects=0.0))
    rendered = render_patches(shipped_library(), scene, 600, np.random.default_rng(9))
    fraction = rendered.electrons / rendered.electrons_per_sample / rendered.reference - scene.background
    features = fraction @ projection().T.astype(np.float32)
    encoded = encode(shipped_library(), scene)
    for row in range(len(scene.candidates)):
        mean = features[rendered.label == row].mean(axis=0)
        assert np.abs(mean - encoded.mean[row]).max() < 0.012, scene.candidates[row].species


def _distance(a: EncodedScene, b: EncodedScene) -> float:
    return float(np.sqrt(np.mean(((a.mean - b.mean) / b.scale) ** 2)))


@pytest.mark.parametrize("missing", list(Missing))
def test_what_is_missing_is_averaged_over_and_widens_the_covariance(missing: Missing) -> None:
    scene = _scene()
    known, less = encode(shipped_library(), scene), encode(shipped_library(), without(scene, {missing}))
    if missing not in (Missing.HIGH_TENSION, Missing.DETECTOR):  # which the frame's X2/M all but gives away
        assert less.log_det.sum() > known.log_det.sum()
    assert _distance(known, less) < 2.0
    assert np.isfinite(less.whiten).all()
    part = {Missing.SOURCE_SIZE: "source"}.get(missing, missing.value)
    assert known.context[context_slice(part)][-1] == 1
    assert less.context[context_slice(part)][-1] == 0


def test_the_models_inputs_do_not_hold_what_is_missing() -> None:
    """Two scenes that differ in what is hidden, and show the same X2/M, are told alike."""
    scene = without(_scene(), {Missing.HIGH_TENSION, Missing.DETECTOR, Missing.CONVERGENCE})
    other = without(_scene(kv=200.0), {Missing.HIGH_TENSION, Missing.DETECTOR, Missing.CONVERGENCE})
    ratios = [
        predict(shipped_library(), replace(s, missing=frozenset())).expected_ratio for s in (scene, other)
    ]
    other = replace(other, ratio=scene.ratio * ratios[0] / ratios[1], optics=replace(other.optics))
    first, second = encode(shipped_library(), scene), encode(shipped_library(), other)
    np.testing.assert_allclose(first.mean, second.mean, atol=0.03)
    np.testing.assert_allclose(first.context[:-34], second.context[:-34], atol=0.15)


def test_a_missing_vacancy_orientation_is_spread_over_three() -> None:
    scene = _scene(complexes=True)
    beside = [c.vacancy_beside for c in scene.candidates].index(True)
    plain = next(i for i, c in enumerate(scene.candidates) if c.role is Role.DOPANT)
    prediction = predict(shipped_library(), scene).candidates
    assert np.linalg.matrix_rank(prediction[beside].components["spread"], tol=1e-9) == 2
    assert "spread" not in prediction[plain].components
    assert prediction[beside].mean.sum() < prediction[plain].mean.sum()


def test_compositions_put_a_new_element_between_its_neighbours() -> None:
    def of(metal: str) -> np.ndarray:
        return composition(classes.candidates("MoS2", [metal])[1])

    assert of("Os").shape == (COMPOSITION_WIDTH,)
    near, far = np.abs(of("Os") - of("Re")).sum(), np.abs(of("Os") - of("Ti")).sum()
    assert near < far / 3
    pair, one = (composition(c) for c in classes.candidates("MoS2", [])[2:4])
    np.testing.assert_allclose(pair[:16], 2 * one[:16])
    assert encode(shipped_library(), _scene()).context.shape == (CONTEXT_WIDTH,)
    assert sum(CONTEXT_PARTS.values()) == CONTEXT_WIDTH


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda listed: (), "empty"),
        (lambda listed: listed[1:], "0 columns of the host"),
        (lambda listed: (*listed, listed[1]), "Name each once"),
        (lambda listed: (*listed, listed[0]), "2 columns of the host"),
        (
            lambda listed: (*listed, Candidate(Role.DOPANT, "W_W", "W", listed[0].sublattice)),
            "same column",
        ),
    ],
)
def test_a_candidate_list_that_cannot_be_is_refused(spoil, said: str) -> None:
    scene = _scene()
    with pytest.raises(InputError, match=said):
        encode(shipped_library(), replace(scene, candidates=spoil(scene.candidates)))


def test_how_features_move_with_their_column_matches_differences() -> None:
    table = response_tables(shipped_library(), ("W",), Optics(80.0, 30.0, 70.0, 200.0, 0.45))[0]
    weights = projection()
    a_angstrom = materials.host("WSe2").a_angstrom
    step = 0.02 / a_angstrom
    analytic = np.tensordot(table[NODES], column_maps(Sublattice.METAL, a_angstrom).own_move, 1)
    for axis in (0, 1):
        moved = []
        for sign in (1, -1):
            shift = np.zeros(2)
            shift[axis] = sign * step
            squared = np.sum(((sample_offsets() - shift) * a_angstrom) ** 2, axis=1)
            moved.append(np.interp(squared / SQUARED_STEP, np.arange(len(table)), table, right=0) @ weights.T)
        difference = (moved[0] - moved[1]) / 0.04
        assert np.abs(analytic[axis] - difference).max() < 0.03 * np.abs(difference).max()
