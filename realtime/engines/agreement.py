"""Does an engine give the answers of the CPU's? Asked of real patches before a result of it is shown."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classifier.classifier import posterior_from
from stemctx_core.classifier.engine import Arrays, Engine

#: Greatest difference of a probability that is taken as the same answer: the same graph, float32 and float16.
TOLERANCE: Final = {"fp32": 1e-3, "fp16": 5e-2}
_HOST, _DOPANT = "WSe2", "V"
_DOSES: Final = (1e3, 1e5)


def example(repeats: int = 10, dose_e_per_angstrom2: float = 1e5, seed: int = 3) -> Arrays:
    """Inputs of the shipped graph: `repeats` rendered patches of every candidate of V in WSe2, and their scene."""
    # Imported here: an engine that needs no trial need not wait for them.
    from stemctx_core.dataset.cases import benchmark_cases
    from stemctx_core.dataset.groups import make_group
    from stemctx_core.evaluation.scenes import benchmark_scene
    from stemctx_core.simulation.library import shipped_library

    rng = np.random.default_rng(seed)
    case = next(c for c in benchmark_cases() if c.host.name == _HOST and c.dopants == (_DOPANT,))
    group = make_group(shipped_library(), benchmark_scene(case, dose_e_per_angstrom2, rng), repeats, rng)
    return {"patches": group.patches, **group.encoded.inputs()}


def largest_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Greatest difference of a probability between two (n, C) arrays of logits; infinite where one is not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    return float(np.abs(posterior_from(one) - posterior_from(other)).max())


def disagreement(engine: Engine, reference: Engine, precision: str) -> str:
    """Say how far an engine's answers are from the reference's; empty where they are the same."""
    worst = 0.0
    for dose in _DOSES:
        inputs = example(dose_e_per_angstrom2=dose)
        worst = max(worst, largest_difference(engine.run(inputs), reference.run(inputs)))
    if worst <= TOLERANCE[precision]:
        return ""
    return f"its probabilities differ from those of ONNX Runtime by up to {worst:.2g}"
