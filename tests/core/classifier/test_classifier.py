"""The bundle is checked before anything runs, and the model gives calibrated posteriors."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from stemctx_core import metrics
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.species import SPECIES, species_of
from stemctx_core.classifier.baselines import load_baselines
from stemctx_core.classifier.classifier import (
    INPUT_NAMES,
    Classifier,
    load_bundle,
    posterior_from,
    shipped_bundle_path,
)
from stemctx_core.classifier.engine import OnnxRuntimeEngine
from stemctx_core.classifier.onnx_check import check_contents, read_contents
from stemctx_core.contrast.features import projection
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group
from stemctx_core.dataset.truth import random_case
from stemctx_core.errors import BundleError, InputError
from stemctx_core.evaluation.benchmark import run_benchmark
from stemctx_core.evaluation.scenes import benchmark_scene
from stemctx_core.scene import Missing
from stemctx_core.simulation.library import shipped_library


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle())


@pytest.fixture
def copied_bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle_path(), tmp_path / "bundle"))


def test_the_shipped_bundle_says_what_it_is() -> None:
    card = load_bundle().card
    assert set(card["roles"]) == {role.value for role in Role}
    assert card["training"]["high_tensions_kv"] == [60.0, 80.0, 200.0]
    assert card["training"]["library_sha256"] == shipped_library().sha256
    assert {"dose_e_per_angstrom2", "convergence_semi_angle_mrad"} <= set(card["training"]["ranges"])
    assert set(card["training"]["missing_rates"]) == {m.value for m in Missing}
    temperature = card["temperature"]
    assert temperature["log_dose"] == sorted(temperature["log_dose"])
    assert all(0.3 <= value <= 3 for value in temperature["value"])


def test_the_graph_stands_alone_and_has_the_named_inputs() -> None:
    model = onnx.load_from_string(load_bundle().onnx_bytes)
    onnx.checker.check_model(model, full_check=True)
    assert tuple(i.name for i in model.graph.input) == INPUT_NAMES
    assert not any(t.external_data for t in model.graph.initializer)
    assert {o.domain for o in model.opset_import} == {""}


DAMAGES = [
    "hash", "missing", "card", "no description", "version", "link", "not onnx", "opset", "inputs", "operators", "external",
]  # fmt: skip


def _reworked(folder: Path, content: dict, model: onnx.ModelProto) -> None:
    """Another graph under the same name, with its own hash in the card."""
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    content["files"]["model.onnx"]["sha256"] = digest
    (folder / "card.json").write_text(json.dumps(content))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_with_the_fix(damage: str, copied_bundle: Path) -> None:
    model, card = copied_bundle / "model.onnx", copied_bundle / "card.json"
    content = json.loads(card.read_text())
    if damage == "hash":
        model.write_bytes(model.read_bytes() + b"x")
    elif damage == "missing":
        model.unlink()
    elif damage == "card":
        card.write_text("{")
    elif damage == "version":
        card.write_text(json.dumps({**content, "input_version": 99}))
    elif damage == "link":
        model.rename(copied_bundle / "elsewhere.onnx")
        model.symlink_to(copied_bundle / "elsewhere.onnx")
    elif damage == "no description":
        card.write_text(json.dumps({**content, "files": {}}))
    elif damage in ("opset", "inputs", "operators", "external"):
        graph = onnx.load_from_string(model.read_bytes())
        if damage == "opset":
            graph.opset_import[0].version = 21
        elif damage == "inputs":
            graph.graph.input[0].name = "pictures"
        elif damage == "operators":
            next(n for n in graph.graph.node if n.op_type == "Exp").op_type = "Sin"
        else:
            graph.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
        _reworked(copied_bundle, content, graph)
    if damage == "not onnx":
        with pytest.raises(BundleError, match="not an ONNX"):
            read_contents(b"not a model")
        with pytest.raises(BundleError, match="cannot load"):
            OnnxRuntimeEngine(b"not a model")
    else:
        with pytest.raises(BundleError, match=r"Reinstall|Use a bundle"):
            load_bundle(copied_bundle)


def test_an_operator_that_no_bundle_may_have_is_refused_even_where_the_card_names_it() -> None:
    found = replace(read_contents(load_bundle().onnx_bytes), operators=frozenset({"MatMul", "Loop"}))
    with pytest.raises(BundleError, match="Loop"):
        check_contents(found, found.opset, found.inputs, found.operators)


def test_half_precision_agrees_and_patches_that_are_not_finite_are_refused(classifier: Classifier) -> None:
    rng = np.random.default_rng(7)
    half = Classifier(load_bundle(half=True))
    apart, total = 0, 0
    for dose in (1e3, 1e6):
        group = make_group(shipped_library(), benchmark_scene(benchmark_cases()[77], dose, rng), 30, rng)
        full = classifier.posterior(group.patches, group.encoded)
        low = half.posterior(group.patches, group.encoded)
        apart += int((full.argmax(axis=1) != low.argmax(axis=1)).sum())
        total += len(full)
        assert np.abs(full - low).max() < 0.05
    assert apart / total < 0.01
    for value in (np.nan, np.inf):
        spoilt = group.patches.copy()
        spoilt[3, 500] = value
        with pytest.raises(InputError, match=r"1 of 210 patches"):
            classifier.log_likelihood(spoilt, group.encoded)


def test_the_papers_form_answers_for_its_species_at_every_level() -> None:
    rng = np.random.default_rng(5)
    case = next(c for c in benchmark_cases() if c.host.name == "WSe2" and c.dopants == ("V",))
    group = make_group(shipped_library(), benchmark_scene(case, 1e5, rng), 20, rng)
    baselines = load_baselines()
    assert set(baselines) == {"image", "condition", "host", "candidates"}
    listed = [SPECIES.index(str(species_of(c))) for c in group.scene.candidates]
    for name, baseline in baselines.items():
        answer = baseline.log_posterior(group.patches, group.encoded)
        np.testing.assert_allclose(np.exp(answer.astype(np.float64)).sum(axis=1), 1.0, rtol=1e-4)
        inside = np.exp(answer[:, listed]).sum(axis=1)
        assert (inside > 0.999).all() == (name == "candidates")
    told = baselines["candidates"].log_posterior(group.patches, group.encoded)[:, listed]
    assert metrics.accuracy(told, group.label) > 0.5


def test_features_are_as_good_as_the_patches_that_they_are_of(classifier: Classifier) -> None:
    """By the graph that takes them, and lifted back to patches where a bundle or an engine has no such graph."""
    assert classifier.bundle.features_onnx_bytes is not None
    without = Classifier(replace(classifier.bundle, features_onnx_bytes=None))
    rng = np.random.default_rng(3)
    for case, dose in ((0, 1e3), (40, 1e4), (77, 1e6)):
        group = make_group(shipped_library(), benchmark_scene(benchmark_cases()[case], dose, rng), 200, rng)
        by_patch = classifier.log_likelihood(group.patches, group.encoded)
        features = group.patches @ projection().T.astype(np.float32)
        by_feature = classifier.log_likelihood_of_features(features, group.encoded)
        np.testing.assert_allclose(by_feature, by_patch, atol=1e-4, rtol=5e-4)
        assert np.abs(posterior_from(by_feature) - posterior_from(by_patch)).max() < 1e-3
        lifted = posterior_from(without.log_likelihood_of_features(features, group.encoded))
        assert np.abs(posterior_from(by_patch) - lifted).max() < 1e-3


def test_a_damaged_graph_for_features_is_refused_too(copied_bundle: Path) -> None:
    model, card = copied_bundle / "model_features.onnx", copied_bundle / "card.json"
    content = json.loads(card.read_text())
    graph = onnx.load_from_string(model.read_bytes())
    graph.graph.input[0].name = "pictures"
    model.write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match="sha256 differs"):
        load_bundle(copied_bundle)
    said = content["files"]["model_features.onnx"]
    said["sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
    card.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="its card says"):
        load_bundle(copied_bundle)
    said["inputs"][0] = "pictures"
    card.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="other inputs"):
        load_bundle(copied_bundle)
    del content["files"]["model_features.onnx"]
    card.write_text(json.dumps(content))
    assert load_bundle(copied_bundle).features_onnx_bytes is None


def test_batches_of_any_size_give_the_same(classifier: Classifier) -> None:
    rng = np.random.default_rng(3)
    group = make_group(shipped_library(), benchmark_scene(benchmark_cases()[0], 1e4, rng), 200, rng)
    together = classifier.log_likelihood(group.patches, group.encoded)
    assert len(together) > 1024
    alone = classifier.log_likelihood(group.patches[1020:1030], group.encoded)
    np.testing.assert_allclose(together[1020:1030], alone, atol=2e-3)
    assert classifier.log_likelihood(group.patches[:0], group.encoded).shape == (0, 7)


def test_the_order_of_candidates_does_not_matter(classifier: Classifier) -> None:
    """The network is shared: permuting the candidate list permutes the answer."""
    rng = np.random.default_rng(3)
    case = random_case(rng, 3, 235.0)
    group = make_group(shipped_library(), benchmark_scene(case, 1e4, rng), 5, rng)
    inputs = {"patches": group.patches, **group.encoded.inputs()}
    order = rng.permutation(len(group.encoded.mean))
    shuffled = {k: v[order] if k not in ("patches", "log_dose", "context") else v for k, v in inputs.items()}
    plain, mixed = classifier.engine.run(inputs), classifier.engine.run(shuffled)
    np.testing.assert_allclose(plain[:, order], mixed, atol=5e-3)


def test_prior_rules_out_and_rows_sum_to_one() -> None:
    posterior = posterior_from(np.array([[5.0, 4.0, -50.0]], np.float32), np.array([0.0, 0.5, 0.5]))
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0, rtol=1e-6)
    assert posterior[0, 0] == 0.0
    assert posterior[0, 1] > 0.999


def test_benchmark_figures_are_near_the_shipped_ones() -> None:
    """A small draw of the benchmark: accuracy rises with dose, stays near the card's, and beats physics alone."""
    rows = {(r["labels"], r["dose_e_per_angstrom2"]): r for r in run_benchmark(patches_per_dose=1400, seed=11)}
    card = {(r["labels"], r["dose_e_per_angstrom2"]): r for r in load_bundle().card["figures"]["benchmark"]}

    def value(key: tuple[str, float], figure: str, of: str = "scorer") -> float:
        return float(rows[key][of][figure]["value"])

    for key in rows:
        assert value(key, "accuracy") == pytest.approx(card[key]["accuracy"], abs=0.04), key
        assert value(key, "accuracy") >= value(key, "accuracy", "predictions_alone") - 0.01, key
        assert value(key, "calibration_error") < 0.05, key
    by_dose = [value(("L7", dose), "accuracy") for dose in (1e3, 1e4, 1e5, 1e6)]
    assert by_dose == sorted(by_dose)


def test_metrics_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(1)
    label = rng.integers(0, 4, 500)
    posterior = posterior_from((rng.normal(size=(500, 4)) + 2 * np.eye(4)[label]).astype(np.float32))
    assert metrics.accuracy(posterior, label) == pytest.approx(
        sklearn.accuracy_score(label, posterior.argmax(axis=1))
    )
    exact = posterior.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert metrics.negative_log_likelihood(exact, label) == pytest.approx(
        sklearn.log_loss(label, exact), rel=1e-5
    )
    uniform = np.full((3, 4), 0.25)
    assert metrics.mean_entropy_nats(uniform) == pytest.approx(np.log(4))
    sure = np.eye(2)[[0, 1, 1, 1]]
    assert metrics.expected_calibration_error(sure, np.array([0, 1, 1, 0])) == pytest.approx(0.25)
