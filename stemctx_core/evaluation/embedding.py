"""A map of patches: whitened residuals of every candidate, laid out in two dimensions by UMAP."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from stemctx_core.chemistry.classes import L7
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation.cache import Arrays


def missing() -> str:
    """Why no map can be drawn; empty where one can."""
    if importlib.util.find_spec("umap") is None:
        return 'umap-learn is not installed: pip install "stemctx[evaluation]"'
    return ""


def laid_out(judged: Arrays, seed: int) -> Arrays:
    """(n, 2) places of patches, beside what they are."""
    import umap

    reducer = umap.UMAP(n_neighbors=20, min_dist=0.15, random_state=seed % (1 << 31), n_jobs=1)
    places = reducer.fit_transform(judged["residuals"])
    return {
        "place": np.asarray(places, np.float32),
        "label": judged["label"],
        "scene": judged["scene"],
    }


def figures(places: Arrays) -> dict[str, Any]:
    """Points with role, host and condition, for the JSON."""
    cases = [benchmark_cases()[i] for i in places["scene"]]
    return {
        "x": [round(float(v), 3) for v in places["place"][:, 0]],
        "y": [round(float(v), 3) for v in places["place"][:, 1]],
        "role": [L7[i].value for i in places["label"]],
        "host": [c.host.name for c in cases],
        "condition": [f"{c.high_tension_kv:g} kV, {c.inner_mrad:g}–{c.outer_mrad:g} mrad" for c in cases],
    }
