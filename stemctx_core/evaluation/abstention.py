"""What is not answered: accuracy of what is, against the Bayes posterior's own, and prediction sets."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import metrics
from stemctx_core.errors import BundleError
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import normalised
from stemctx_core.judging.conformal import ConformalSets

#: Accuracy that the answered patches must have, and the coverages that prediction sets are asked for.
WANTED_ACCURACY: Final = 0.98
SET_COVERAGES: Final = (0.9, 0.95, 0.99)
_CURVE_POINTS: Final = 60
#: The benchmark's roles are balanced.
_PRIOR: Final = "balanced"


def rule_figures(judged: Arrays, threshold: float, what: str) -> dict[str, Any]:
    """Coverage and accuracy where a patch is answered from a probability on.

    Parameters
    ----------
    threshold
        Probability of the most probable candidate from which it is named.
    what
        ``learned`` or ``bayes``.
    """
    posterior, label = normalised(judged[what]), judged["label"].astype(np.int64)
    confidence, right = posterior.max(axis=1), posterior.argmax(axis=1) == label
    answered = confidence >= threshold
    coverage, accuracy = metrics.accuracy_coverage(confidence, right)
    points = np.unique(np.linspace(0, len(coverage), _CURVE_POINTS + 1).astype(int))[1:] - 1
    return {
        "patches": len(label),
        "answered_from_probability": metrics.rounded(threshold, 4),
        "coverage": metrics.clustered_mean(answered, judged["scene"]).figures(),
        "accuracy": metrics.clustered_mean(right[answered], judged["scene"][answered]).figures(),
        "curve": {
            "coverage": [metrics.rounded(v, 4) for v in coverage[points]],
            "accuracy": [metrics.rounded(v, 4) for v in accuracy[points]],
        },
    }


def threshold_for(judged: Arrays, what: str, wanted: float = WANTED_ACCURACY) -> float:
    """Lowest probability from which the answered patches are right as often as wanted."""
    posterior, label = normalised(judged[what]), judged["label"].astype(np.int64)
    confidence = posterior.max(axis=1)
    _, accuracy = metrics.accuracy_coverage(confidence, posterior.argmax(axis=1) == label)
    enough = np.flatnonzero(accuracy >= wanted)
    return float(np.sort(confidence)[::-1][enough[-1]]) if len(enough) else 1.0


def fitted_rule(judged: Arrays, what: str) -> dict[str, Any] | None:
    """`rule_figures` of every other scene with the threshold that the others ask for; None with a single scene."""
    scenes = np.unique(judged["scene"])
    if len(scenes) < 2:
        return None
    mine = np.isin(judged["scene"], scenes[::2])
    fitted, held = ({k: v[chosen] for k, v in judged.items()} for chosen in (mine, ~mine))
    return rule_figures(held, threshold_for(fitted, what), what)


def sets_missing(card: dict[str, Any]) -> str:
    """Why there are no prediction sets; empty where there are."""
    try:
        fitted = ConformalSets.from_card(card, _PRIOR).guaranteed
    except BundleError as error:
        return str(error)
    return "" if fitted else "the model's card has no fitted prediction sets"


def prediction_sets(judged: Arrays, card: dict[str, Any], coverage: float) -> NDArray[np.bool_]:
    """(n, C) whether a candidate is in the conformal prediction set of a patch."""
    posterior = normalised(judged["learned"])
    return ConformalSets.from_card(card, _PRIOR).sets(posterior, judged["log_dose"], coverage)


def set_figures(judged: Arrays, sets: NDArray[np.bool_], asked: float) -> dict[str, Any]:
    """Coverage and size of prediction sets, and how right the ones of a single candidate are."""
    label, scene = judged["label"].astype(np.int64), judged["scene"]
    size = sets.sum(axis=1)
    holds = sets[np.arange(len(label)), label]
    single = size == 1
    return {
        "asked_coverage": asked,
        "coverage": metrics.clustered_mean(holds, scene).figures(),
        "mean_size": metrics.clustered_mean(size, scene).figures(),
        "single": metrics.clustered_mean(single, scene).figures(),
        "accuracy_of_single": metrics.clustered_mean(holds[single], scene[single]).figures(),
        "empty": metrics.clustered_mean(size == 0, scene).figures(),
    }
