"""Trained nets to ONNX graphs with free numbers of patches and candidates, weights inside."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from stemctx_core.chemistry.species import SPECIES
from stemctx_core.classifier.classifier import INPUT_NAMES
from stemctx_core.classifier.feature_scorer import FEATURE_INPUT_NAMES, SCENE_INPUT_NAMES
from stemctx_core.contrast.features import FEATURES
from stemctx_core.contrast.patches import SAMPLES
from stemctx_core.encoding.compositions import COMPOSITION_WIDTH, CONTEXT_WIDTH
from stemctx_core.training.model import CandidateScorer
from stemctx_core.training.paper_form import PaperForm
from stemctx_core.training.split import FeatureScores, SceneReading

OPSET = 20
_LARGEST_BATCH = 16384
_LARGEST_CANDIDATE_LIST = 64
_EXAMPLE_CANDIDATES, _EXAMPLE_PATCHES = 7, 8


def export_scorer(net: CandidateScorer) -> bytes:
    """The graph of the scorer, in the precision that it works in."""
    count = _EXAMPLE_CANDIDATES
    example = (
        torch.zeros(_EXAMPLE_PATCHES, SAMPLES),
        torch.zeros(count, FEATURES),
        torch.eye(FEATURES).repeat(count, 1, 1),
        torch.zeros(count),
        torch.ones(count, FEATURES),
        torch.zeros(1),
        torch.zeros(count, COMPOSITION_WIDTH),
        torch.zeros(CONTEXT_WIDTH),
    )
    n = Dim("patches", min=1, max=_LARGEST_BATCH)
    c = Dim("candidates", min=2, max=_LARGEST_CANDIDATE_LIST)
    shapes: tuple[dict[int, Dim], ...] = ({0: n}, {0: c}, {0: c}, {0: c}, {0: c}, {}, {0: c}, {})
    return _export(net, example, INPUT_NAMES, shapes)


def export_split(net: CandidateScorer) -> tuple[bytes, bytes]:
    """The graphs of the scorer in two steps, the one that reads a scene and the one that scores features."""
    count, scored = _EXAMPLE_CANDIDATES, _EXAMPLE_CANDIDATES // 2
    n = Dim("patches", min=1, max=_LARGEST_BATCH)
    c = Dim("candidates", min=2, max=_LARGEST_CANDIDATE_LIST)
    s = Dim("scored", min=1, max=_LARGEST_CANDIDATE_LIST)
    scene = (
        torch.zeros(count, FEATURES),
        torch.eye(FEATURES).repeat(count, 1, 1),
        torch.ones(count, FEATURES),
        torch.zeros(1),
        torch.zeros(count, COMPOSITION_WIDTH),
        torch.zeros(CONTEXT_WIDTH),
    )
    reading = SceneReading(net.cpu()).eval()
    with torch.no_grad():
        read = reading(*scene)
    features = (
        torch.zeros(_EXAMPLE_PATCHES, FEATURES),
        *scene[:2],
        torch.zeros(count),
        read[:, -2:],
        read[:scored],
    )
    return (
        _export(reading, scene, SCENE_INPUT_NAMES, ({0: c}, {0: c}, {0: c}, {}, {0: c}, {})),
        _export(
            FeatureScores(net), features, FEATURE_INPUT_NAMES, ({0: n}, {0: c}, {0: c}, {0: c}, {0: c}, {0: s})
        ),
    )


def export_baseline(net: PaperForm) -> bytes:
    """The graph of a baseline."""
    example = [torch.zeros(_EXAMPLE_PATCHES, SAMPLES), torch.zeros(CONTEXT_WIDTH)]
    names = ["patches", "context"]
    if net.listed:
        example.append(torch.ones(len(SPECIES)))
        names.append("listed")
    n = Dim("patches", min=1, max=_LARGEST_BATCH)
    shapes: tuple[dict[int, Dim], ...] = ({0: n}, *({} for _ in names[1:]))
    return _export(net, tuple(example), tuple(names), shapes)


def _export(
    net: nn.Module, example: tuple[Tensor, ...], names: tuple[str, ...], shapes: tuple[dict[int, Dim], ...]
) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of packages that it could use and we do not
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net.cpu().eval(),
            example,
            str(path),
            input_names=list(names),
            output_names=["logits"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()
