"""How fast patches are judged, features computed, beside the obvious ways to do it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import multivariate_normal

from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.classifier.engine import OnnxRuntimeEngine
from stemctx_core.contrast.features import projection
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import Group, make_group
from stemctx_core.evaluation.plan import Plan
from stemctx_core.evaluation.scenes import benchmark_scene
from stemctx_core.simulation.library import shipped_library

THREADS: Final = 2
#: Patches that the slow ways are timed on.
_SLOW_PATCHES: Final = 400


def measure(bundle: Path | None, plan: Plan, seed: int) -> dict[str, Any]:
    """Patches a second of the scorer in ONNX Runtime and of two alternatives, same patches, same process."""
    loaded = load_bundle(bundle)
    classifier = Classifier(loaded, OnnxRuntimeEngine(loaded.onnx_bytes, threads=THREADS))
    rng = np.random.default_rng([seed, 9])
    scene = benchmark_scene(benchmark_cases()[0], 1e4, rng)
    group = make_group(shipped_library(), scene, -(-plan.speed_patches // len(scene.candidates)), rng)
    patches = group.patches[: plan.speed_patches]
    few = patches[:_SLOW_PATCHES]

    def batched() -> None:
        classifier.log_likelihood(patches, group.encoded)

    def one_by_one() -> None:
        for i in range(len(few)):
            classifier.log_likelihood(few[i : i + 1], group.encoded)

    def gaussian() -> None:
        _gaussian_one_by_one(few, group)

    ways = {
        "scorer, ONNX Runtime, batched": (batched, len(patches)),
        "scorer, ONNX Runtime, one patch a call": (one_by_one, len(few)),
        "Gaussian likelihood with SciPy, one patch a call": (gaussian, len(few)),
    }
    return {
        "threads": THREADS,
        "patches": len(patches),
        "ways": {name: _rates(call, count, plan.speed_runs) for name, (call, count) in ways.items()},
    }


def _gaussian_one_by_one(patches: Any, group: Group) -> None:
    factor = np.linalg.inv(group.encoded.whiten.astype(np.float64))
    covariance = factor @ factor.transpose(0, 2, 1)
    densities = [
        multivariate_normal(m, c, allow_singular=True)
        for m, c in zip(group.encoded.mean, covariance, strict=True)
    ]
    weights = projection()
    for patch in patches:
        features = weights @ patch
        for density in densities:
            density.logpdf(features)


def _rates(call: Callable[[], None], count: int, runs: int) -> dict[str, float]:
    """Median, best and worst rate after one call that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    rates = count / np.array(seconds)
    return {
        "patches_per_s": round(float(np.median(rates))),
        "slowest_patches_per_s": round(float(rates.min())),
        "fastest_patches_per_s": round(float(rates.max())),
        "ms_for_8600_patches": round(8.6e6 / float(np.median(rates)), 2),
    }
