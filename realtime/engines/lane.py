"""One execution context that always runs the same shapes, so that what it does can be captured once and replayed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realtime.engines.builder import TensorRtError
from realtime.engines.device import Cuda, Staged
from stemctx_core.classifier.engine import Arrays

if TYPE_CHECKING:
    # Types only: a test checks them against NVIDIA's own bindings.
    import tensorrt

logger = logging.getLogger(__name__)

Shapes = dict[str, tuple[int, ...]]


class Lane:
    """A context, its memory and its graph.

    A graph is bound to the context, the shapes and the addresses that it was captured with, and a context that was
    changed since makes it undefined (NVIDIA's developer guide, "CUDA Graphs"): hence one context for each shape.

    Parameters
    ----------
    context
        A new ``IExecutionContext``, used by nothing else.
    shapes
        Of every input.
    output
        Name of the one output.
    graph
        Capture a CUDA graph; not for TensorRT-RTX, which does so itself.
    """

    def __init__(
        self, context: tensorrt.IExecutionContext, cuda: Cuda, shapes: Shapes, output: str, graph: bool
    ) -> None:
        self._context, self._cuda = context, cuda
        self._inputs: dict[str, Staged] = {}
        self._graph: Any = None
        self._output: Staged | None = None
        try:
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise TensorRtError(f"'{name}' of shape {shape} is outside what the plan was built for")
                self._inputs[name] = self._staged(name, shape)
            if missing := context.infer_shapes():
                raise TensorRtError(f"inputs without a shape: {', '.join(missing)}")
            self._output = self._staged(output, tuple(context.get_tensor_shape(output)))
            # The first run after a change of shape does work that must not be captured.
            self._enqueue()
            cuda.wait()
            if graph:
                self._capture()
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays, rows: int) -> NDArray[np.float32]:
        """(rows, ...) output for inputs whose first axis may be shorter than the lane's; the rest is not looked at."""
        if self._output is None:
            raise TensorRtError("the lane is closed")
        for name, staged in self._inputs.items():
            given = inputs[name]
            staged.host[: len(given)] = given
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph)
        self._cuda.wait()
        return self._output.host[:rows].copy()

    def close(self) -> None:
        """Free memory and graph; safe to call twice."""
        if self._graph is not None:
            self._cuda.call(self._cuda.api.cudaGraphExecDestroy, self._graph)
            self._graph = None
        for staged in (*self._inputs.values(), *([self._output] if self._output else [])):
            staged.free(self._cuda)
        self._inputs, self._output, self._context = {}, None, None

    def _staged(self, name: str, shape: tuple[int, ...]) -> Staged:
        staged = Staged.make(self._cuda, shape)
        if not self._context.set_tensor_address(name, staged.device):
            staged.free(self._cuda)
            raise TensorRtError(f"TensorRT does not take a buffer for '{name}'")
        return staged

    def _enqueue(self) -> None:
        for staged in self._inputs.values():
            staged.upload(self._cuda)
        if not self._context.execute_async_v3(int(self._cuda.stream)):
            raise TensorRtError("the GPU did not take the work")
        if self._output is not None:
            self._output.download(self._cuda)

    def _capture(self) -> None:
        try:
            self._graph = self._cuda.capture(self._enqueue)
        except TensorRtError as error:
            logger.info("without a CUDA graph: %s", error)
