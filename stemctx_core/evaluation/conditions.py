"""Materials and conditions that nothing was trained on, and libraries that are wrong."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stemctx_core import metrics
from stemctx_core.chemistry.classes import L7, Role
from stemctx_core.dataset.cases import Case, benchmark_cases
from stemctx_core.evaluation.abstention import prediction_sets
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import normalised
from stemctx_core.evaluation.rows import answers, distance
from stemctx_core.evaluation.scenes import Perturbation, is_near_z

#: Truth rendered with responses that the classifier's library does not have.
PERTURBATIONS: Final = {
    "exact library": Perturbation(0.0, 0.0, 0.01),
    "1 % per candidate": Perturbation(0.01, 0.0, 0.01),
    "6 % in class means": Perturbation(0.06, 0.06, 0.06),
    "6 % in class means, told 1 %": Perturbation(0.06, 0.06, 0.01),
}
#: Those that the classifier is told the right size of, for which calibration is demanded.
HONESTLY_TOLD: Final = ("1 % per candidate", "6 % in class means")
SET_COVERAGE: Final = 0.95
_PAIR: Final = (L7.index(Role.METAL), L7.index(Role.DOPANT))


def figures(judged: Arrays, referred: Arrays | None) -> dict[str, Any]:
    """Figures of the scorer with all seven roles, and its distance from the Bayes reference where there is one."""
    told: dict[str, Any] = {"scorer": answers(judged, "L7").figures()}
    if referred is not None:
        told["distance_to_bayes"] = distance(referred, "L7")
    return told


def near_pair_figures(judged: Arrays, case_of_scene: list[Case], card: dict[str, Any] | None) -> dict[str, Any]:
    """How near-Z dopants and the host's metal are answered.

    Returns
    -------
    dict
        ``confident_errors``: share of these patches that are named wrongly with 90 % or more; with prediction sets
        also how often both stand in the set and how often the truth does.
    """
    near = np.array([is_near_z(c) for c in case_of_scene])[judged["scene"]]
    mine = near & np.isin(judged["label"], _PAIR)
    part = {k: v[mine] for k, v in judged.items()}
    posterior, label = normalised(part["learned"]), part["label"].astype(np.int64)
    wrong = (posterior.argmax(axis=1) != label) & (posterior.max(axis=1) >= 0.9)
    told: dict[str, Any] = {
        "patches": len(label),
        "confident_errors": metrics.clustered_mean(wrong, part["scene"]).figures(),
    }
    if card is not None and len(label):
        sets = prediction_sets(part, card, SET_COVERAGE)
        told["both_in_set"] = metrics.clustered_mean(np.all(sets[:, _PAIR], axis=1), part["scene"]).figures()
        told["truth_in_set"] = metrics.clustered_mean(
            sets[np.arange(len(label)), label], part["scene"]
        ).figures()
    return told


def benchmark_conditions() -> list[Case]:
    """The cases of perturbed libraries: near-Z and far-Z ones in equal parts."""
    cases = benchmark_cases()
    near = [c for c in cases if is_near_z(c)]
    far = [c for c in cases if not is_near_z(c)]
    spread = np.random.default_rng(0).permutation(len(far))[: len(near)]
    return [*near, *(far[i] for i in spread)]
