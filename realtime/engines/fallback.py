"""A GPU that fails while a session runs must not end it: the CPU takes over, and says so in every result."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
from numpy.typing import NDArray

from realtime.engines.builder import TensorRtError
from stemctx_core.classifier.engine import Arrays, Engine, OnnxRuntimeEngine
from stemctx_core.results import EngineInfo

logger = logging.getLogger(__name__)


class FallbackEngine:
    """An engine of a GPU until it fails, then ONNX Runtime with the same graph for good.

    A device that failed once answers nothing until the process is started again (CUDA runtime, "sticky errors").

    Parameters
    ----------
    engine
        Of the GPU; it is closed with this one.
    onnx_bytes, threads
        For ONNX Runtime.
    """

    def __init__(self, engine: Engine, onnx_bytes: bytes, threads: int | None = None) -> None:
        self._engine, self._onnx_bytes, self._threads = engine, onnx_bytes, threads
        self._failed = False

    @property
    def info(self) -> EngineInfo:
        """Of the engine that runs now."""
        return self._engine.info

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Evaluate the graph."""
        try:
            return self._engine.run(inputs)
        except (TensorRtError, RuntimeError) as error:  # the bindings raise RuntimeError
            if self._failed:
                raise
            self._fall_back(error)
        return self._engine.run(inputs)

    def close(self) -> None:
        """Free what the engine holds; safe to call twice."""
        self._engine.close()

    def _fall_back(self, error: Exception) -> None:
        logger.error("%s failed while it ran: %s", self._engine.info.name, error)
        reason = f"{self._engine.info.name} failed while it ran: {error}"
        with contextlib.suppress(TensorRtError, RuntimeError):  # what failed may not even close
            self._engine.close()
        self._failed = True
        self._engine = OnnxRuntimeEngine(self._onnx_bytes, reason, self._threads)
