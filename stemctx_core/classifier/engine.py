"""What runs a model: one small interface, and ONNX Runtime on the CPU as the engine that is always there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import BundleError
from stemctx_core.results import EngineInfo

# From 1.29 on, ONNX Runtime reports the models that it loads to its maker unless it is told not to before it starts;
# a program of a laboratory talks to nobody. Whoever wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

Arrays = dict[str, NDArray[np.float32]]


class Engine(Protocol):
    """Runs one ONNX graph.

    Implementations are not required to be safe for use from two threads at once.
    """

    @property
    def info(self) -> EngineInfo:
        """Name and the reason why it was chosen."""

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Evaluate the graph's single output for named float32 inputs."""

    def close(self) -> None:
        """Free what it holds; safe to call twice."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU.

    Parameters
    ----------
    model
        The bytes of the ONNX file, already checked against its hash.
    reason
        Why this engine and no other.
    threads
        Threads inside an operator; one less than the cores by default, so that a window stays responsive.
    """

    def __init__(self, model: bytes, reason: str = "the CPU engine", threads: int | None = None) -> None:
        #: How many there are.
        self.threads = threads or max(1, (os.cpu_count() or 2) - 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exception classes have no common base
            raise BundleError(
                f"ONNX Runtime cannot load the model: {error}. Reinstall the bundle or export the model again."
            ) from error
        used = ", ".join(p.removesuffix("ExecutionProvider") for p in self._session.get_providers())
        self.info = EngineInfo(name=f"ONNX Runtime {onnxruntime.__version__} ({used})", reason=reason)

    def beside(self, model: bytes) -> OnnxRuntimeEngine:
        """Another graph under the same conditions, but with its threads across runs (`run_all`) instead of inside."""
        made = OnnxRuntimeEngine(model, self.info.reason, threads=1)
        made.threads = self.threads
        return made

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Evaluate the graph."""
        output: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return output

    def run_all(self, inputs: Sequence[Arrays]) -> list[NDArray[np.float32]]:
        """Evaluate the graph several times, as many at once as there are threads."""
        if min(self.threads, len(inputs)) < 2:
            return [self.run(each) for each in inputs]
        with ThreadPoolExecutor(min(self.threads, len(inputs)), "stemctx-scores") as pool:
            return list(pool.map(self.run, inputs))

    def close(self) -> None:
        """Nothing to free beyond the session itself."""
