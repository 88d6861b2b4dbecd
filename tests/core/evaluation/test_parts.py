"""Scenes, label sets, the cache and the demands, each alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemctx_core.chemistry.classes import L5, L7, Role
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation import jobs
from stemctx_core.evaluation.ablation import entropy_cut
from stemctx_core.evaluation.abstention import rule_figures, set_figures, threshold_for
from stemctx_core.evaluation.cache import Cache
from stemctx_core.evaluation.less_context import normalised
from stemctx_core.evaluation.must_show import Demand
from stemctx_core.evaluation.plan import FULL, QUICK
from stemctx_core.evaluation.prevalence import PREVALENCE, prevalence_figures
from stemctx_core.evaluation.rows import answers, distance
from stemctx_core.evaluation.scenes import NUISANCE, Mode, draw_group, first_repeats, is_near_z, part_of
from stemctx_core.simulation.library import shipped_library


def judged(sharpness: float = 3.0, scenes: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    """Answers of an observer that is right about its own doubt: labels are drawn from its posterior."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(scenes * 7, 7))
    posterior = normalised(logits)
    label = (posterior.cumsum(axis=1) < rng.random((len(posterior), 1))).sum(axis=1).clip(0, 6)
    scene = np.repeat(np.arange(scenes) % 576, 7).astype(np.int32)
    return {
        "scene": scene,
        "label": label.astype(np.int16),
        "learned": logits,
        "bayes": logits,
        "physics": logits,
    }


def test_full_plan_is_as_large_as_the_benchmark_asks() -> None:
    assert FULL.cases * FULL.repeats * len(L7) >= 20_000
    assert FULL.cases * FULL.repeats * len(L5) >= 20_000
    far = sum(not is_near_z(c) for c in benchmark_cases())
    assert far == 450
    assert far * FULL.repeats * len(L5) >= 20_000
    assert FULL.reference_cases * FULL.reference_repeats * len(L5) >= 4_000


def test_scenes_are_functions_of_their_job_and_differ_between_jobs() -> None:
    listed = jobs.benchmark_jobs(QUICK, 5, Mode.FRAME, 1e4)
    assert len({j.scene for j in listed}) == QUICK.cases
    first, second = (draw_group(shipped_library(), replace(listed[0], repeats=1)) for _ in range(2))
    np.testing.assert_array_equal(first.patches, second.patches)
    other = draw_group(shipped_library(), replace(jobs.benchmark_jobs(QUICK, 6, Mode.FRAME, 1e4)[0], repeats=1))
    assert first.truth.optics.sigma_angstrom != other.truth.optics.sigma_angstrom


def test_unknown_mode_tells_ranges_and_not_the_truth() -> None:
    told = [
        draw_group(shipped_library(), replace(j, repeats=1)).scene
        for j in jobs.benchmark_jobs(QUICK, 5, Mode.UNKNOWN, 1e4)[:3]
    ]
    assert {s.optics.sigma_angstrom for s in told} == {0.45}
    assert {s.background for s in told} == {0.03}
    assert told[0].nuisance.sigma_angstrom > 20 * NUISANCE.sigma_angstrom


def test_perturbed_truth_is_told_as_a_standard_deviation() -> None:
    from stemctx_core.evaluation.scenes import Perturbation

    off = Perturbation(response=0.06, ratio=0.06, told_response=0.02)
    job = jobs.condition_jobs(QUICK, 5, "perturbed", benchmark_cases()[:3], 1e5, off)[0]
    group = draw_group(shipped_library(), job)
    assert group.truth.nuisance.response == 0.06
    assert group.scene.nuisance.response == 0.02
    assert group.scene.ratio == pytest.approx(group.truth.ratio, abs=0.01)
    assert group.truth.ratio != 1.0


def test_part_of_a_group_keeps_counts_and_labels_together() -> None:
    group = draw_group(shipped_library(), jobs.benchmark_jobs(QUICK, 5, Mode.FRAME, 1e3)[0])
    few = part_of(group, first_repeats(group, 1))
    assert sorted(few.label.tolist()) == list(range(7))
    np.testing.assert_array_equal(few.label, few.rendered.label)
    assert len(few.rendered.electrons) == len(few.patches) == 7


def test_unseen_cases_hold_nothing_that_was_trained_on() -> None:
    seen = {(c.host.name, c.dopants, c.high_tension_kv, c.inner_mrad, c.convergence_semi_angle_mrad) for c in benchmark_cases()}  # fmt: skip
    for name, cases in jobs.unseen_cases().items():
        assert len(cases) >= 96, name
        for c in cases:
            key = (c.host.name, c.dopants, c.high_tension_kv, c.inner_mrad, c.convergence_semi_angle_mrad)
            assert key not in seen
            assert c.host.metal not in c.dopants


def test_what_the_library_cannot_answer_is_left_out_with_the_reason() -> None:
    case = benchmark_cases()[0]
    impossible = replace(case, inner_mrad=10.0)
    kept, reason = jobs.answerable(shipped_library(), [case, impossible])
    assert kept == [case]
    assert "10" in reason


def test_label_sets_cut_list_and_patches() -> None:
    data = judged()
    five = answers(data, "L5")
    assert five.posterior.shape[1] == 5
    np.testing.assert_allclose(five.posterior.sum(axis=1), 1)
    names = [L5[i] for i in five.label]
    assert names == [L7[i] for i in data["label"][five.kept]]
    assert Role.OXYGEN not in names
    near, far = answers(data, "L7 near-Z"), answers(data, "L7 far-Z")
    assert len(near.label) + len(far.label) == len(data["label"])


def test_an_honest_observer_is_calibrated_and_no_distance_from_itself() -> None:
    data = judged(scenes=2000)
    told = answers(data, "L7")
    assert told.calibration.value < 0.02
    assert told.entropy.value == pytest.approx(told.surprise.value, abs=0.03)
    itself = distance(data, "L7")
    assert itself["gap_points"]["value"] == 0
    assert itself["divergence_nats"]["value"] == pytest.approx(0, abs=1e-9)
    assert abs(itself["bayes_entropy_less_surprise_nats"]["value"]) < 0.03


def test_entropy_cut_and_its_error() -> None:
    rng = np.random.default_rng(1)
    before = rng.gamma(2.0, size=4000)
    cut = entropy_cut(before, 0.06 * before, np.arange(4000))
    assert cut.value == pytest.approx(0.94)
    assert cut.standard_error == pytest.approx(0, abs=1e-12)
    noisy = entropy_cut(before, rng.permutation(before) * 0.06, np.arange(4000))
    assert 0 < noisy.standard_error < 0.01


def test_rule_answers_what_is_sure_enough() -> None:
    data = judged(scenes=2000)
    threshold = threshold_for(data, "learned", 0.98)
    told = rule_figures(data, threshold, "learned")
    assert told["accuracy"]["value"] == pytest.approx(0.98, abs=0.005)
    assert 0 < told["coverage"]["value"] < 1
    sure = normalised(data["learned"]).max(axis=1) >= threshold
    assert told["coverage"]["value"] == pytest.approx(sure.mean(), abs=1e-4)


def test_sets_of_all_candidates_always_cover() -> None:
    data = judged(scenes=20)
    told = set_figures(data, np.ones((140, 7), bool), 0.9)
    assert told["coverage"]["value"] == 1
    assert told["mean_size"]["value"] == 7
    assert told["accuracy_of_single"]["value"] is None


def test_prevalence_against_counting_in_a_drawn_crystal() -> None:
    """Weights on balanced patches give the precision of patches that are drawn at real prevalence."""
    rng = np.random.default_rng(2)
    means = 2.6 * np.eye(7)
    rates = np.array([0.987, 0.01, 0.003, 0.957, 0.03, 0.003, 0.01]) / 2
    found = []
    for label in (np.tile(np.arange(7), 12000), rng.choice(7, 400_000, p=rates)):
        logits = 2.6 * rng.normal(means[label]) - 0.5 * 2.6**2
        data = {"scene": np.arange(len(label)), "label": label, "learned": logits}
        found.append((data, label))
    weighted = prevalence_figures(found[0][0], 0.9)["roles"]["vac_X"]
    data, label = found[1]
    same = np.array([0, 0, 0, 1, 1, 1, 1])[label][:, None] == np.array([0, 0, 0, 1, 1, 1, 1])
    with np.errstate(divide="ignore"):
        posterior = normalised(data["learned"] + np.log(rates * same))
    found, true = posterior[:, 4] >= 0.9, label == 4
    assert weighted["precision"]["value"] == pytest.approx(true[found].mean(), abs=0.04)
    assert weighted["recall"]["value"] == pytest.approx(found[true].mean(), abs=0.03)
    assert PREVALENCE[Role.CHALCOGEN_VACANCY] == 0.03


def test_cache_belongs_to_one_identity(tmp_path: Path) -> None:
    first, second = Cache(tmp_path, {"seed": 1}), Cache(tmp_path, {"seed": 2})
    first.store("stage", {"a": np.arange(3)})
    assert second.load("stage") is None
    assert first.arrays("stage", lambda: pytest.fail("computed again"))["a"].tolist() == [0, 1, 2]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [(0.99, {"at_least": 0.98}, True), (0.5, {"at_most": 0.4}, False), (1.0, {}, None), (None, {"at_least": 0.0}, None)],
)  # fmt: skip
def test_a_demand_is_met_by_its_value_alone(
    value: float | None, bounds: dict[str, float], met: bool | None
) -> None:
    assert Demand("line", "what", "target", {"value": value, "se": 9.0}, **bounds).met is met
