"""Precision and recall where defects are as rare as in a real crystal.

Patches are drawn with balanced roles and weighted by how often each is met at a site, half of all sites being of each
sublattice; posteriors take the same prevalence as prior, and the sublattice as known from the lattice.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import metrics
from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Role
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import normalised

#: The benchmark's real prevalence, of the sites of a role's sublattice.
PREVALENCE: Final = {
    Role.DOPANT: 0.01,
    Role.METAL_VACANCY: 0.003,
    Role.CHALCOGEN_VACANCY: 0.03,
    Role.CHALCOGEN_DIVACANCY: 0.003,
    Role.OXYGEN: 0.01,
}
_CURVE_POINTS: Final = 60


def prevalence_figures(judged: Arrays, threshold: float, what: str = "learned") -> dict[str, Any]:
    """For every defect role and for 'any defect': precision, recall, area below the curve, and the curve.

    Parameters
    ----------
    threshold
        Probability from which a site is flagged.
    """
    listed = classes.candidates("WSe2", ("V",))
    prior = np.array(classes.priors(listed, PREVALENCE))
    same = np.array([[a.sublattice is b.sublattice for b in listed] for a in listed])
    label, scene = judged["label"].astype(np.int64), judged["scene"]
    with np.errstate(divide="ignore"):
        posterior = normalised(judged[what] + np.log(prior * same[label]))
    weight = (prior / np.bincount(label, minlength=len(listed)))[label] / 2
    weight = weight / weight.sum()
    defect = np.array([c.is_defect for c in listed])
    found = {
        "any defect": _figures(posterior @ defect, defect[label], threshold, weight, scene),
    }
    for column, candidate in enumerate(listed):
        if candidate.is_defect:
            found[candidate.role] = _figures(posterior[:, column], label == column, threshold, weight, scene)
    return {
        "flagged_from_probability": threshold,
        "accuracy": metrics.clustered_mean(posterior.argmax(axis=1) == label, scene, weight).figures(),
        "roles": found,
    }


def _figures(
    score: NDArray[np.float64],
    true: NDArray[np.bool_],
    threshold: float,
    weight: NDArray[np.float64],
    scene: NDArray[Any],
) -> dict[str, Any]:
    told = score >= threshold
    precision, recall, _ = metrics.precision_recall_curve(score, true, weight)
    chosen = np.unique(np.linspace(0, len(precision) - 1, 8 * _CURVE_POINTS).astype(int))
    even = np.unique(np.searchsorted(recall[chosen], np.linspace(0, 1, _CURVE_POINTS)).clip(0, len(chosen) - 1))
    curve = chosen[even]
    return {
        "precision": metrics.clustered_mean(true[told], scene[told], weight[told]).figures(),
        "recall": metrics.clustered_mean(told[true], scene[true], weight[true]).figures(),
        "average_precision": metrics.rounded(metrics.average_precision(score, true, weight)),
        "curve": {
            "recall": [metrics.rounded(v, 4) for v in recall[curve]],
            "precision": [metrics.rounded(v, 4) for v in precision[curve]],
        },
    }
