"""A shipped graph as the eager PyTorch net that it was exported from: to compare the two, and to train on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from stemctx_core.errors import BundleError
from stemctx_core.training.model import Adjustment, CandidateScorer, ScorerSize


def restored_scorer(content: bytes, heads: int = ScorerSize.heads) -> CandidateScorer:
    """The net of a graph in single precision, with its weights.

    The exporter keeps the names of weights but for those that it turned for a plain product; these are the other
    factor of what a bias is added to.

    Parameters
    ----------
    content
        An ONNX file as `stemctx_core.training.export.export_scorer` writes it.
    heads
        Of its attention, which no weight shows; the card says it.

    Raises
    ------
    BundleError
        A graph that is not of this net.
    """
    graph = onnx.load_model_from_string(content).graph
    held = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    try:
        width, tokens = held["first.bias"].shape[0], held["scene.context.0.bias"].shape[0]
        layers = sum(name.endswith(".query.bias") for name in held)
        net = CandidateScorer(ScorerSize(width, tokens, layers, heads))
        net.adjustment = Adjustment() if "adjustment.factor" in held else None
        weights = {name: _weight(name, held, graph) for name in net.state_dict()}
        net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    except (KeyError, RuntimeError) as error:
        raise BundleError(
            f"This graph is not of the candidate scorer: {error}. Use 'model.onnx' of a bundle of this version."
        ) from error
    return net.eval()


def _weight(name: str, held: dict[str, NDArray[Any]], graph: onnx.GraphProto) -> NDArray[Any]:
    if name in held:
        return held[name]
    bias = name.removesuffix("weight") + "bias"
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        if node.op_type == "Add" and bias in node.input:
            other = next(i for i in node.input if i != bias)
            if other in products:
                return held[products[other].input[1]].T
    raise KeyError(name)


def eager(
    content: bytes, scene: Mapping[str, NDArray[np.float32]], threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """(n, SAMPLES) patches to (n, C) logits in eager PyTorch, for a scene that stays.

    Parameters
    ----------
    scene
        Inputs of the graph but for the patches.
    threads
        That PyTorch uses from now on, in the whole process.
    """
    torch.set_num_threads(threads)
    net = restored_scorer(content)
    told = {name: torch.from_numpy(value) for name, value in scene.items()}

    def logits(patches: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            answer: NDArray[np.float32] = net(torch.from_numpy(patches), **told).numpy()
        return answer

    return logits
