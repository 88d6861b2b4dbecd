"""Figures against scikit-learn and against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core import metrics
from stemctx_core.classifier.classifier import posterior_from

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 4, 600)
    logits = rng.normal(size=(600, 4)) + 2 * np.eye(4)[label]
    posterior = posterior_from(logits.astype(np.float32)).astype(np.float64)
    return posterior / posterior.sum(axis=1, keepdims=True), label, np.repeat(np.arange(60), 10)


def test_per_patch_figures_average_to_the_totals(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    assert metrics.surprises_nats(posterior, label).mean() == pytest.approx(
        sklearn.log_loss(label, posterior), rel=1e-9
    )
    assert metrics.entropies_nats(posterior).mean() == metrics.mean_entropy_nats(posterior)
    assert metrics.accuracy(posterior, label) == sklearn.accuracy_score(label, posterior.argmax(axis=1))


def test_divergence_against_scikit_learn_and_of_itself(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    np.testing.assert_allclose(metrics.divergences_nats(posterior, posterior), 0, atol=1e-12)
    certain = np.eye(4)[label]
    np.testing.assert_allclose(
        metrics.divergences_nats(certain, posterior), metrics.surprises_nats(posterior, label), atol=1e-9
    )


def test_confusion_against_scikit_learn(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    predicted = posterior.argmax(axis=1)
    np.testing.assert_allclose(
        metrics.confusion(predicted, label, 4), sklearn.confusion_matrix(label, predicted, normalize="true")
    )
    weight = np.where(label == 0, 3.0, 1.0)
    np.testing.assert_allclose(
        metrics.confusion(predicted, label, 4, weight),
        sklearn.confusion_matrix(label, predicted, normalize="true", sample_weight=weight),
    )
    absent = metrics.confusion(predicted, label, 5)
    assert not absent[4].any()


def test_precision_recall_curve_against_scikit_learn(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    true, weight = label == 2, np.where(label == 2, 0.1, 1.0)
    precision, recall, threshold = metrics.precision_recall_curve(posterior[:, 2], true, weight)
    theirs = sklearn.precision_recall_curve(true, posterior[:, 2], sample_weight=weight)
    np.testing.assert_allclose(precision, theirs[0][:-1][::-1])
    np.testing.assert_allclose(recall, theirs[1][:-1][::-1])
    np.testing.assert_allclose(threshold, theirs[2][::-1])
    assert metrics.average_precision(posterior[:, 2], true, weight) == pytest.approx(
        sklearn.average_precision_score(true, posterior[:, 2], sample_weight=weight)
    )


def test_tied_scores_are_one_point_of_the_curve() -> None:
    score, true = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    precision, recall, _ = metrics.precision_recall_curve(score, true, np.ones(4))
    np.testing.assert_allclose(precision, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(recall, [0.5, 1, 1])


def test_clustered_error_is_the_plain_one_for_single_patches() -> None:
    values = np.random.default_rng(2).normal(size=400)
    told = metrics.clustered_mean(values, np.arange(400))
    assert told.value == pytest.approx(values.mean())
    assert told.standard_error == pytest.approx(values.std(ddof=1) / 20)


def test_copies_in_a_scene_add_no_certainty() -> None:
    values = np.random.default_rng(3).normal(size=100)
    once = metrics.clustered_mean(values, np.arange(100))
    copied = metrics.clustered_mean(np.repeat(values, 7), np.repeat(np.arange(100), 7))
    assert copied.standard_error == pytest.approx(once.standard_error)
    weighted = metrics.clustered_mean(values, np.arange(100), np.full(100, 0.3))
    assert weighted.standard_error == pytest.approx(once.standard_error)


def test_clustered_error_covers_the_truth() -> None:
    """Of many draws with a common error a scene, the true mean lies within two standard errors in about 95 %."""
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(40), 5)
    inside = 0
    for _ in range(300):
        told = metrics.clustered_mean(rng.normal(size=40)[cluster] + rng.normal(size=200), cluster)
        inside += abs(told.value) < 2 * told.standard_error
    assert 0.91 < inside / 300 < 0.98


def test_one_scene_has_no_error_and_none_no_mean() -> None:
    assert np.isnan(metrics.clustered_mean(np.ones(5), np.zeros(5, int)).standard_error)
    assert metrics.clustered_mean(np.zeros(0), np.zeros(0, int)).figures() == {"value": None, "se": None}


def test_calibration_error_of_the_calibrated_and_of_the_sure() -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(0.5, 1, 40000)
    posterior = np.stack([p, 1 - p], axis=1)
    label = (rng.random(40000) > p).astype(int)
    told = metrics.calibration_error(posterior, label, np.arange(40000) // 20)
    assert told.value < 0.02
    assert 0 < told.standard_error < 0.01
    told = metrics.calibration_error(np.eye(2)[np.ones(100, int)], np.zeros(100, int), np.arange(100))
    assert told.value == 1.0
    assert told.standard_error == pytest.approx(0.0, abs=1e-12)


def test_reliability_bins_hold_all_patches(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    bins = metrics.reliability(posterior, label)
    assert bins.share.sum() == pytest.approx(1)
    assert np.nansum(bins.share * bins.accuracy) == pytest.approx(metrics.accuracy(posterior, label))
    assert bins.error == pytest.approx(metrics.expected_calibration_error(posterior, label))


def test_accuracy_over_coverage_ends_at_the_accuracy(drawn: tuple[np.ndarray, ...]) -> None:
    posterior, label, _ = drawn
    coverage, accuracy = metrics.accuracy_coverage(posterior.max(axis=1), posterior.argmax(axis=1) == label)
    assert coverage[-1] == 1.0
    assert accuracy[-1] == pytest.approx(metrics.accuracy(posterior, label))
    assert accuracy[len(accuracy) // 4] > accuracy[-1]
