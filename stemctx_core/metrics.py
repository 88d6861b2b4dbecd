"""Figures by which posteriors are judged, and how sure they are where several patches share a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Posterior = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Values = NDArray[np.float64]

_TINY = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A measured figure.

    Attributes
    ----------
    value
        The figure.
    standard_error
        Of independent scenes; NaN where there is only one.
    """

    value: float
    standard_error: float

    def figures(self) -> dict[str, float | None]:
        """Rounded, for a file; what is not finite becomes null."""
        return {"value": rounded(self.value), "se": rounded(self.standard_error)}


def rounded(value: float, digits: int = 5) -> float | None:
    """A float for a JSON file, which knows no NaN."""
    return round(float(value), digits) if np.isfinite(value) else None


def entropies_nats(posterior: Posterior) -> Values:
    """(n,) H = -Σ p ln p."""
    p = np.asarray(posterior, np.float64)
    entropies: Values = -np.sum(p * np.log(np.clip(p, _TINY, None)), axis=1)
    return entropies


def surprises_nats(posterior: Posterior, label: Labels) -> Values:
    """(n,) -ln p(true candidate)."""
    p = np.asarray(posterior, np.float64)[np.arange(len(label)), label]
    surprises: Values = -np.log(np.clip(p, _TINY, None))
    return surprises


def divergences_nats(reference: Posterior, posterior: Posterior) -> Values:
    """(n,) Kullback-Leibler divergence Σ r ln(r/p) of posteriors from a reference."""
    r, p = np.asarray(reference, np.float64), np.asarray(posterior, np.float64)
    ratio = np.log(np.clip(r, _TINY, None)) - np.log(np.clip(p, _TINY, None))
    divergences: Values = np.sum(r * ratio, axis=1)
    return divergences


def accuracy(posterior: Posterior, label: Labels) -> float:
    """Fraction of patches whose most probable candidate is the true one."""
    return float(np.mean(posterior.argmax(axis=1) == label))


def mean_entropy_nats(posterior: Posterior) -> float:
    """Mean of H = -Σ p ln p over patches."""
    return float(entropies_nats(posterior).mean())


def negative_log_likelihood(posterior: Posterior, label: Labels) -> float:
    """Mean of -ln p(true candidate), in nats."""
    return abs(float(surprises_nats(posterior, label).mean()))


def clustered_mean(
    values: NDArray[Any], cluster: Labels, weight: NDArray[np.floating[Any]] | None = None
) -> Estimate:
    """Mean of values with the standard error of a ratio of cluster totals.

    Patches of one scene share its source, background and errors, so that scenes and not patches are what was drawn
    independently: s.e. = sqrt(G/(G-1) Σ_g (Σ_i w_i (v_i - m))²) / Σ w (W. G. Cochran, Sampling Techniques, 1977,
    section 6.3).

    Parameters
    ----------
    values
        (n,) of patches.
    cluster
        (n,) which scene a patch is of, any integers.
    weight
        (n,) weight of a patch, 1 where left out.
    """
    v = np.asarray(values, np.float64)
    w = np.ones(len(v)) if weight is None else np.asarray(weight, np.float64)
    if not len(v) or w.sum() <= 0:
        return Estimate(float("nan"), float("nan"))
    mean = float(np.average(v, weights=w))
    names, place = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return Estimate(mean, float("nan"))
    totals = np.bincount(place, weights=w * (v - mean))
    error = np.sqrt(len(names) / (len(names) - 1) * np.sum(totals**2)) / w.sum()
    return Estimate(mean, float(error))


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence.

    Attributes
    ----------
    confidence, accuracy
        (bins,) means; NaN in empty bins.
    share
        (bins,) of all patches.
    """

    confidence: Values
    accuracy: Values
    share: Values

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two, weighted by the share."""
        filled = self.share > 0
        return float(np.sum((self.share * np.abs(self.accuracy - self.confidence))[filled]))


def reliability(posterior: Posterior, label: Labels, bins: int = 15) -> Reliability:
    """Accuracy and confidence in equal-width bins of the confidence of the most probable candidate."""
    confidence, right, place = _binned(posterior, label, bins)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            np.bincount(place, weights=confidence, minlength=bins) / count,
            np.bincount(place, weights=right, minlength=bins) / count,
            count / max(1, len(label)),
        )


def expected_calibration_error(posterior: Posterior, label: Labels, bins: int = 15) -> float:
    """Mean distance of confidence from accuracy over equal-width bins of confidence, weighted by their size."""
    return reliability(posterior, label, bins).error


def calibration_error(
    posterior: Posterior, label: Labels, cluster: Labels, bins: int = 15, resamples: int = 200
) -> Estimate:
    """Expected calibration error with the spread of a bootstrap over scenes (seeded, so that it is repeatable)."""
    value = expected_calibration_error(posterior, label, bins)
    confidence, right, place = _binned(posterior, label, bins)
    names, scene = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return Estimate(value, float("nan"))
    gap = np.bincount(scene * bins + place, weights=right - confidence, minlength=len(names) * bins)
    size = np.bincount(scene, minlength=len(names))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    errors = np.abs(drawn @ gap.reshape(-1, bins)).sum(axis=1) / (drawn @ size)
    return Estimate(value, float(errors.std(ddof=1)))


def confusion(predicted: Labels, true: Labels, classes: int, weight: Values | None = None) -> Values:
    """(classes, classes) share of patches of each true class (row) that was told each class (column)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (true, predicted), 1.0 if weight is None else weight)
    totals = counts.sum(axis=1, keepdims=True)
    shares: Values = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares


def precision_recall_curve(
    score: NDArray[np.floating[Any]], true: NDArray[np.bool_], weight: Values
) -> tuple[Values, Values, Values]:
    """Precision, recall and threshold at every score, from the strictest threshold to the loosest."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    ranked = np.asarray(score, np.float64)[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hit = np.cumsum(weight[order] * true[order])[last]
    told = np.cumsum(weight[order])[last]
    return hit / told, hit / max(hit[-1], _TINY), ranked[last]


def average_precision(score: NDArray[np.floating[Any]], true: NDArray[np.bool_], weight: Values) -> float:
    """Area below the precision-recall curve: Σ (R_k - R_{k-1}) P_k."""
    precision, recall, _ = precision_recall_curve(score, true, weight)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def accuracy_coverage(confidence: NDArray[np.floating[Any]], right: NDArray[Any]) -> tuple[Values, Values]:
    """Coverage and accuracy as less and less sure patches are answered, the surest first."""
    order = np.argsort(-np.asarray(confidence), kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(np.asarray(right, np.float64)[order]) / answered


def _binned(posterior: Posterior, label: Labels, bins: int) -> tuple[Values, Values, NDArray[np.int64]]:
    confidence = np.asarray(posterior.max(axis=1), np.float64)
    right = (posterior.argmax(axis=1) == label).astype(np.float64)
    return confidence, right, np.minimum((confidence * bins).astype(np.int64), bins - 1)
