"""What TensorRT-RTX does when it runs, and TensorRT does not: it compiles kernels for the shapes that it meets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from realtime.engines.plans import PlanCache, PlanKey

if TYPE_CHECKING:
    # Types only: a test checks them against NVIDIA's own bindings.
    import tensorrt

logger = logging.getLogger(__name__)


class RtxKernels:
    """How contexts of one engine are made, and the kernels that were compiled for them, kept for the next start.

    Parameters
    ----------
    trt
        The module ``tensorrt_rtx``.
    engine
        An ``ICudaEngine``.
    key
        Under which the kernels are kept; it names the GPU and its driver.
    cache
        Of this user; None keeps nothing.
    """

    def __init__(self, trt: Any, engine: tensorrt.ICudaEngine, key: PlanKey, cache: PlanCache | None) -> None:
        self._engine, self._key, self._folder = engine, key, cache
        self._config = engine.create_runtime_config()
        # The engine captures and replays a CUDA graph for each shape by itself.
        self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._kernels = self._config.create_runtime_cache()
        known = cache.get(key) if cache is not None else None
        if known is not None and not self._kernels.deserialize(known):
            logger.info("kernels kept for another environment are not used")
        self._config.set_runtime_cache(self._kernels)

    def context(self) -> tensorrt.IExecutionContext | None:
        """Make a new ``IExecutionContext``; None where there is no memory for it."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write what was compiled so far."""
        if self._folder is None:
            return
        kernels = self._kernels.serialize()
        if kernels is None:
            return
        try:
            self._folder.put(self._key, bytes(memoryview(kernels)))
        except OSError as error:
            logger.warning("compiled kernels were not kept: %s", error)
