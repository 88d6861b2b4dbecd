"""Trained nets to ONNX graphs with free numbers of patches and candidates, weights inside."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from stemctx_core.classifier import FEATURE_INPUT_NAMES, INPUT_NAMES
from stemctx_core.compositions import COMPOSITION_WIDTH, CONTEXT_WIDTH
from stemctx_core.features import FEATURES
from stemctx_core.patches import SAMPLES
from stemctx_core.species import SPECIES
from stemctx_core.training.model import CandidateScorer
from stemctx_core.training.paper_form import PaperForm

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


def taking_features(graph: bytes) -> bytes:
    """The graph of a scorer without its first step, the projection of patches on features, which it takes instead.

    Parameters
    ----------
    graph
        As `export_scorer` gives it.
    """
    model = onnx.load_from_string(graph)
    nodes, given = model.graph.node, model.graph.input[0]
    (project,) = (n for n in nodes if n.op_type == "MatMul" and n.input[0] == given.name)
    matrix = next(t for t in model.graph.initializer if t.name == project.input[1])
    old = {given.name, project.output[0]}
    nodes.remove(project)
    model.graph.initializer.remove(matrix)
    for node in nodes:
        for i, name in enumerate(node.input):
            if name in old:
                node.input[i] = FEATURE_INPUT_NAMES[0]
    for described in [v for v in model.graph.value_info if v.name in {*old, matrix.name}]:
        model.graph.value_info.remove(described)
    given.name = FEATURE_INPUT_NAMES[0]
    given.type.tensor_type.shape.dim[1].dim_value = FEATURES
    onnx.checker.check_model(model, full_check=True)
    cut: bytes = model.SerializeToString()
    return cut


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
