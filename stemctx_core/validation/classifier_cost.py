"""Trained on columns, tested on deltas: what the fast tier costs the classifier, on the same scenes and draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from stemctx_core.chemistry.classes import L7
from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group, tell
from stemctx_core.look import formats
from stemctx_core.scene import Scene, host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.truth.delta import DeltaLibrary

#: What columns may cost, points of accuracy.
COST_LIMIT_POINTS: Final = 0.3
DOSES: Final = (1e4, 1e5)
_REPEATS: Final = 4


@dataclass(frozen=True)
class ClassifierCost:
    """Accuracy over the benchmark's L7 classes, full context, of patches made of columns and of deltas.

    Attributes
    ----------
    cost_points, standard_error_points
        Accuracy on columns less that on deltas, and its error over scenes, which share their draws. The ratio X2/M
        is told as a frame of deltas shows it, which is how the analysis finds it.
    """

    dose_e_per_angstrom2: float
    patches: int
    accuracy_columns: float
    accuracy_deltas: float
    cost_points: float
    standard_error_points: float

    def passes(self) -> bool:
        """Whether the cost is within the limit, not counting its error."""
        return self.cost_points <= COST_LIMIT_POINTS


def classifier_cost(
    deltas: DeltaLibrary,
    patches: int,
    progress: Callable[[int, int, str], None],
    bundle: Path | None = None,
    seed: int = 20260610,
) -> list[ClassifierCost]:
    """Evaluate a model, the shipped one by default, on benchmark scenes rendered by either tier.

    What the model is told rests on the column library in both. Scenes are spread evenly over the 576 cases; the same
    ones are taken at every dose.
    """
    from stemctx_core.evaluation.scenes import benchmark_scene

    classifier = Classifier(load_bundle(bundle))
    library, cases = deltas.library, benchmark_cases()
    scenes = max(2, -(-patches // (_REPEATS * len(L7))))
    order = np.linspace(0, len(cases), scenes, endpoint=False).astype(int) % len(cases)
    right = np.zeros((2, len(DOSES), scenes))
    count = 0
    for n, which in enumerate(order):
        case = cases[which]
        corrected = deltas.for_host(case.host)
        for number, dose in enumerate(DOSES):
            progress(n * len(DOSES) + number, len(DOSES) * scenes, f"classifier {formats.dose(dose)}")
            for tier, truth_library in enumerate((library, corrected)):
                rng = np.random.default_rng([seed, number, n])
                truth = benchmark_scene(case, dose, rng)
                told = tell(truth, rng)
                told = replace(told, ratio=told.ratio * _ratio(truth_library, truth) / _ratio(library, truth))
                group = make_group(
                    library, truth, _REPEATS, rng, truth_library=truth_library, told=told, only_features=True
                )
                chosen = classifier.posterior(group.patches, group.encoded).argmax(axis=1)
                right[tier, number, n] = np.mean(chosen == group.label)
        count += len(group.label)
    cost = 100 * (right[0] - right[1])
    return [
        ClassifierCost(
            dose,
            count,
            float(right[0, number].mean()),
            float(right[1, number].mean()),
            float(cost[number].mean()),
            float(cost[number].std(ddof=1) / np.sqrt(scenes)),
        )
        for number, dose in enumerate(DOSES)
    ]


def _ratio(library: ResponseLibrary, scene: Scene) -> float:
    """Peak of the host's chalcogen column over that of its metal."""
    metal, pair = (library.response(c, scene.optics)[0] for c in host_columns(scene.host))
    return float(pair / metal)
