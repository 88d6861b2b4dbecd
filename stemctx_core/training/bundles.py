"""Trained nets to bundle folders: graphs, and the card that says what they are."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import torch

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.species import SPECIES
from stemctx_core.classifier.classifier import INPUT_NAMES, INPUT_VERSION, write_card
from stemctx_core.classifier.onnx_check import read_contents
from stemctx_core.contrast.features import FEATURES
from stemctx_core.contrast.patches import SAMPLES, SAMPLES_PER_LATTICE_CONSTANT, SIDE
from stemctx_core.dataset.cases import BENCHMARK_CONVERGENCE_MRAD, BENCHMARK_ENERGIES_KV
from stemctx_core.dataset.groups import MISSING_RATES
from stemctx_core.dataset.truth import TRAINING_RANGES
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import shipped_library
from stemctx_core.training.checkpoint import Progress
from stemctx_core.training.config import TrainingConfig, fields
from stemctx_core.training.export import export_baseline, export_scorer, export_split
from stemctx_core.training.model import CandidateScorer
from stemctx_core.training.nets import Nets
from stemctx_core.training.paper_form import LEVELS, PaperForm
from stemctx_core.whole_files import write_whole

Temperatures = dict[str, list[float]]


def write_bundle(
    nets: Nets,
    config: TrainingConfig,
    progress: Progress,
    folder: Path,
    name: str,
    temperature: Temperatures,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write ``model.onnx`` in its three forms and ``card.json``; each appears whole or not at all.

    ``model_fp16.onnx`` works in half precision; ``model_scene.onnx`` and ``model_features.onnx`` take features instead
    of patches, in two steps (`stemctx_core.classifier.feature_scorer`).

    Returns
    -------
    dict
        The card.
    """
    graphs = scorer_graphs(nets.scorer)
    files = {file: described(content) for file, content in graphs.items()}
    card: dict[str, Any] = {
        "name": name,
        "what": "scores of candidate columns for lattice-registered HAADF or MAADF patches of 1H TMD monolayers",
        "sha256": files["model.onnx"]["sha256"],
        "files": files,
        **_shape(),
        "inputs": list(INPUT_NAMES),
        "roles": [role.value for role in classes.Role],
        **_made(config, progress, temperature, figures),
    }
    return _write(folder, graphs, card)


def scorer_graphs(net: CandidateScorer) -> dict[str, bytes]:
    """All graphs of a scorer, by the name of their file."""
    scene, features = export_split(net)
    return {
        "model.onnx": export_scorer(net),
        "model_fp16.onnx": export_scorer(net.halved()),
        "model_scene.onnx": scene,
        "model_features.onnx": features,
    }


def write_baselines(
    nets: Nets,
    config: TrainingConfig,
    progress: Progress,
    folder: Path,
    temperatures: dict[str, Temperatures],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write a graph for each level of the paper's form, and ``card.json``.

    Returns
    -------
    dict
        The card.
    """
    graphs, files = {}, {}
    for level in LEVELS:
        net = nets.baselines[level]
        assert isinstance(net, PaperForm)
        content = export_baseline(net)
        graphs[f"{level}.onnx"] = content
        files[f"{level}.onnx"] = {**described(content), "knows": list(net.parts)}
    card: dict[str, Any] = {
        "name": "paper_form",
        "what": "contrast features and context to a fixed list of species, at four levels of information",
        "files": files,
        **_shape(),
        "species": list(SPECIES),
        **_made(config, progress, temperatures, figures),
    }
    return _write(folder, graphs, card)


def described(content: bytes) -> dict[str, Any]:
    """What a card says of a graph."""
    found = read_contents(content)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "opset": found.opset,
        "inputs": list(found.inputs),
        "operators": sorted(found.operators),
    }


def _shape() -> dict[str, Any]:
    return {
        "input_version": INPUT_VERSION,
        "samples": SAMPLES,
        "side": SIDE,
        "samples_per_lattice_constant": SAMPLES_PER_LATTICE_CONSTANT,
        "features": FEATURES,
    }


def _training(config: TrainingConfig, progress: Progress) -> dict[str, Any]:
    library = shipped_library()
    ranges = {k: list(v) for k, v in TRAINING_RANGES.items()}
    held = []
    for angle in TRAINING_RANGES["convergence_semi_angle_mrad"]:
        try:
            library.check(BENCHMARK_ENERGIES_KV[0], angle, 50.0, 120.0)
        except LibraryError:
            held.append(BENCHMARK_CONVERGENCE_MRAD)
        else:
            held.append(angle)
    ranges["convergence_semi_angle_mrad"] = held
    return {
        "config": fields(config),
        "patches": progress.patches,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "hosts": list(materials.hosts()),
        "dopants": {h: list(materials.benchmark_dopants(h)) for h in materials.hosts()},
        "high_tensions_kv": list(BENCHMARK_ENERGIES_KV),
        "ranges": ranges,
        "missing_rates": {m.value: rate for m, rate in MISSING_RATES.items()},
        "library_sha256": library.sha256,
    }


def _made(
    config: TrainingConfig, progress: Progress, temperature: dict[str, Any], figures: dict[str, Any]
) -> dict[str, Any]:
    """How the nets came to be and what they reach, the same part of both cards."""
    return {
        "temperature": temperature,
        "training": _training(config, progress),
        "figures": figures,
        "versions": {"stemctx": importlib.metadata.version("stemctx"), "torch": torch.__version__},
        "licence": "GPL-3.0-or-later",
    }


def _write(folder: Path, graphs: dict[str, bytes], card: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in graphs.items():
        write_whole(folder / file, content)
    write_card(folder, card)
    return card
