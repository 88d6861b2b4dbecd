"""Device memory, pinned host memory, streams and graphs of CUDA through cuda-bindings."""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.engines.builder import TensorRtError


class Cuda:
    """The CUDA runtime, whose errors are raised; one stream.

    Raises
    ------
    TensorRtError
        Where cuda-bindings is missing or the device does not answer.
    """

    def __init__(self) -> None:
        try:
            self.api: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise TensorRtError(f"cuda-bindings cannot be imported ({error})") from error
        self.stream: Any = self.call(self.api.cudaStreamCreateWithFlags, self.api.cudaStreamNonBlocking)

    def call(self, function: Callable[..., tuple[Any, ...]], *values: Any) -> Any:
        """Call a function of the runtime, and give what it returns beside the code."""
        code, *rest = function(*values)
        if int(code) != 0:
            raise TensorRtError(f"{function.__name__} failed ({getattr(code, 'name', code)})")
        return rest[0] if rest else None

    def wait(self) -> None:
        """Until the stream has done all that it was given."""
        self.call(self.api.cudaStreamSynchronize, self.stream)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what `work` gives to the stream, as a graph that can be launched."""
        self.call(
            self.api.cudaStreamBeginCapture,
            self.stream,
            self.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal,
        )
        try:
            work()
        finally:  # the stream can be used no more until the capture is ended
            graph = self.call(self.api.cudaStreamEndCapture, self.stream)
        try:
            return self.call(self.api.cudaGraphInstantiate, graph, 0)
        finally:
            self.call(self.api.cudaGraphDestroy, graph)

    def launch(self, graph: Any) -> None:
        """Give a captured graph to the stream."""
        self.call(self.api.cudaGraphLaunch, graph, self.stream)

    def close(self) -> None:
        """Destroy the stream; safe to call twice."""
        if self.stream is not None:
            self.call(self.api.cudaStreamDestroy, self.stream)
            self.stream = None


@dataclass
class Staged:
    """A float32 array in pinned host memory, and its twin on the device.

    Attributes
    ----------
    host
        The array.
    device
        Address of the twin.
    """

    host: NDArray[np.float32]
    device: int
    _pinned: int

    @classmethod
    def make(cls, cuda: Cuda, shape: tuple[int, ...]) -> Staged:
        """Allocate both; zeros on the host."""
        count = math.prod(shape)
        nbytes = max(4 * count, 4)
        device = int(cuda.call(cuda.api.cudaMalloc, nbytes))
        try:
            pinned = int(cuda.call(cuda.api.cudaHostAlloc, nbytes, cuda.api.cudaHostAllocDefault))
        except TensorRtError:
            cuda.call(cuda.api.cudaFree, device)
            raise
        memory = (ctypes.c_float * count).from_address(pinned)
        host: NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(shape)
        host[...] = 0.0
        return cls(host, device, pinned)

    def upload(self, cuda: Cuda) -> None:
        """Host to device, in the stream."""
        kind = cuda.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda.call(cuda.api.cudaMemcpyAsync, self.device, self._pinned, self.host.nbytes, kind, cuda.stream)

    def download(self, cuda: Cuda) -> None:
        """Device to host, in the stream."""
        kind = cuda.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        cuda.call(cuda.api.cudaMemcpyAsync, self._pinned, self.device, self.host.nbytes, kind, cuda.stream)

    def free(self, cuda: Cuda) -> None:
        """Give both back; the array must not be used afterwards."""
        cuda.call(cuda.api.cudaFree, self.device)
        cuda.call(cuda.api.cudaFreeHost, self._pinned)
