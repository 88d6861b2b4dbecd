"""Figures by which posteriors are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Posterior = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def accuracy(posterior: Posterior, label: Labels) -> float:
    """Fraction of patches whose most probable candidate is the true one."""
    return float(np.mean(posterior.argmax(axis=1) == label))


def mean_entropy_nats(posterior: Posterior) -> float:
    """Mean of H = -Σ p ln p over patches."""
    p = np.asarray(posterior, np.float64)
    return float(-np.sum(p * np.log(np.clip(p, 1e-12, None)), axis=1).mean())


def negative_log_likelihood(posterior: Posterior, label: Labels) -> float:
    """Mean of -ln p(true candidate), in nats."""
    p = np.asarray(posterior, np.float64)[np.arange(len(label)), label]
    return abs(float(np.log(np.clip(p, 1e-12, None)).mean()))


def expected_calibration_error(posterior: Posterior, label: Labels, bins: int = 15) -> float:
    """Mean distance of confidence from accuracy over equal-width bins of confidence, weighted by their size."""
    confidence = posterior.max(axis=1)
    right = posterior.argmax(axis=1) == label
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for b in np.unique(place):
        here = place == b
        error += float(here.mean() * abs(right[here].mean() - confidence[here].mean()))
    return error


def precision_recall(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[float, float]:
    """Precision and recall; precision without predictions and recall without truth are NaN."""
    both = float(np.count_nonzero(predicted & true))
    found, there = np.count_nonzero(predicted), np.count_nonzero(true)
    return (both / found if found else float("nan")), (both / there if there else float("nan"))
