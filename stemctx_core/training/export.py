"""A trained net to a bundle: ONNX, temperature, card with hash."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from stemctx_core import classes, materials
from stemctx_core.classifier import INPUT_NAMES, INPUT_VERSION
from stemctx_core.dataset.cases import BENCHMARK_CONVERGENCE_MRAD, BENCHMARK_ENERGIES_KV
from stemctx_core.dataset.truth import TRAINING_RANGES
from stemctx_core.features import FEATURES
from stemctx_core.patches import SAMPLES, SAMPLES_PER_LATTICE_CONSTANT, SIDE
from stemctx_core.simulation.library import shipped_library
from stemctx_core.training.loop import TrainingPlan, training_batch
from stemctx_core.training.model import CandidateScorer

OPSET = 20
_LARGEST_BATCH = 16384
_LARGEST_CANDIDATE_LIST = 64


def fit_temperature(net: CandidateScorer, plan: TrainingPlan, batches: int = 40) -> float:
    """Temperature that minimises the negative log-likelihood on scenes that training never drew."""
    logits, labels = [], []
    with torch.inference_mode():
        for step in range(batches):
            inputs, label = training_batch(plan, plan.steps + 1_000_000 + step)
            scores = net(**inputs).flatten(0, -2)
            padding = torch.full((len(scores), 12 - scores.shape[1]), -1e9)
            logits.append(torch.cat([scores, padding], dim=1))
            labels.append(label.flatten())
    scores, label = torch.cat(logits), torch.cat(labels)
    grid = np.exp(np.linspace(-0.5, 1.0, 61))
    losses = [float(torch.nn.functional.cross_entropy(scores / t, label)) for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def export_onnx(net: CandidateScorer) -> bytes:
    """The graph with free numbers of patches and candidates, weights inside."""
    count, patches = 7, 8
    example = (
        torch.zeros(patches, SAMPLES),
        torch.zeros(count, FEATURES),
        torch.eye(FEATURES).repeat(count, 1, 1),
        torch.zeros(count),
        torch.ones(count, FEATURES),
        torch.zeros(1),
    )
    n = Dim("patches", min=1, max=_LARGEST_BATCH)
    c = Dim("candidates", min=2, max=_LARGEST_CANDIDATE_LIST)
    shapes: tuple[dict[int, Dim], ...] = ({0: n}, {0: c}, {0: c}, {0: c}, {0: c}, {})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of packages that it could use and we do not
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net.eval(),
            example,
            str(path),
            input_names=list(INPUT_NAMES),
            output_names=["logits"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()


def write_bundle(
    net: CandidateScorer,
    plan: TrainingPlan,
    folder: Path,
    name: str,
    temperature: float,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write ``model.onnx`` and ``card.json``; each appears whole or not at all.

    Returns
    -------
    dict
        The card.
    """
    onnx_bytes = export_onnx(net)
    library = shipped_library()
    card: dict[str, Any] = {
        "name": name,
        "what": "scores of candidate columns for lattice-registered HAADF or MAADF patches of 1H TMD monolayers",
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "input_version": INPUT_VERSION,
        "inputs": list(INPUT_NAMES),
        "samples": SAMPLES,
        "side": SIDE,
        "samples_per_lattice_constant": SAMPLES_PER_LATTICE_CONSTANT,
        "features": FEATURES,
        "roles": [role.value for role in classes.Role],
        "temperature": temperature,
        "training": {
            "plan": asdict(plan),
            "patches": plan.patches,
            "hosts": list(materials.hosts()),
            "dopants": {h: list(materials.benchmark_dopants(h)) for h in materials.hosts()},
            "high_tensions_kv": list(BENCHMARK_ENERGIES_KV),
            "convergence_semi_angle_mrad": BENCHMARK_CONVERGENCE_MRAD,
            "ranges": {k: list(v) for k, v in TRAINING_RANGES.items()},
            "library_sha256": library.sha256,
        },
        "figures": figures,
        "versions": {"torch": torch.__version__, "opset": OPSET},
        "licence": "GPL-3.0-or-later",
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "model.onnx", onnx_bytes)
    _replace(folder / "card.json", (json.dumps(card, indent=1) + "\n").encode())
    return card


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
