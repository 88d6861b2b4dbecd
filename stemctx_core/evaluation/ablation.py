"""What each piece of information buys: image only, condition, host, and the candidate list."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stemctx_core.chemistry.classes import L7
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation import less_context
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import KEPT, PREFIX, VIEWS, patch_figures
from stemctx_core.evaluation.rows import LABEL_SETS, answers
from stemctx_core.evaluation.scenes import is_near_z
from stemctx_core.metrics import Estimate, clustered_mean, rounded

IMAGE_ONLY: Final = "image"
SCORER: Final = "candidate scorer"
PREDICTIONS: Final = "predictions alone"


def ablation(judged: Arrays, labels: str) -> list[dict[str, Any]]:
    """A row for every model: figures of both views, and its cut of entropy against the image-only one."""
    roles, near = LABEL_SETS[labels]
    kept = np.isin(judged["label"], [L7.index(r) for r in roles])
    if near is not None:
        kept &= np.array([is_near_z(c) for c in benchmark_cases()])[judged["scene"]] == near
    scene = judged["scene"][kept]
    number = list(less_context.LABEL_SETS).index(labels.split()[0])
    told = {
        name.removeprefix(PREFIX): values[kept][:, number]
        for name, values in judged.items()
        if name.startswith(PREFIX)
    }
    for name, what in ((PREDICTIONS, "physics"), (SCORER, "learned")):
        full = answers(judged, labels, what)
        # One dopant a list: role and species are the same question.
        own = patch_figures(full.posterior, full.label)
        told[name] = np.stack([own, own], axis=1)
    return [_row(name, values, told.get(IMAGE_ONLY), scene) for name, values in told.items()]


def _row(name: str, values: Any, image: Any, scene: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "patches": len(values)}
    for v, view in enumerate(VIEWS):
        mine = dict(zip(KEPT, values[:, v].T, strict=True))
        row[view] = {
            "accuracy": clustered_mean(mine["right"], scene).figures(),
            "entropy_nats": clustered_mean(mine["entropy"], scene).figures(),
            "negative_log_likelihood": clustered_mean(mine["surprise"], scene).figures(),
            "calibration_error": rounded(_calibration_error(mine["confidence"], mine["right"])),
        }
        if image is not None:
            before = image[:, v, KEPT.index("entropy")]
            row[view]["image_entropy_nats"] = clustered_mean(before, scene).figures()
            row[view]["entropy_cut"] = entropy_cut(before, mine["entropy"], scene).figures()
    return row


def entropy_cut(before: Any, after: Any, scene: Any) -> Estimate:
    """(H_before - H_after)/H_before, with the error of a ratio of means over scenes."""
    total = float(np.mean(before))
    if not total > 0:
        return Estimate(float("nan"), float("nan"))
    ratio = float(np.mean(after)) / total
    error = clustered_mean(np.asarray(after, np.float64) - ratio * np.asarray(before, np.float64), scene)
    return Estimate(1 - ratio, error.standard_error / total)


def _calibration_error(confidence: Any, right: Any, bins: int = 15) -> float:
    place = np.minimum((np.asarray(confidence, np.float64) * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=np.asarray(right, np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(1, len(place)))
