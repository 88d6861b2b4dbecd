"""TensorRT 10 and 11 and TensorRT-RTX through one code path: strongly typed, so precision is the ONNX graph's own.

Never run where `realtime.engines.driver` finds no device. Building was checked with TensorRT-RTX, which compiles
without a GPU; execution was not verified on the machines where this was written. The plan is built at every start
(seconds) and never stored nor read: a plan is executable content.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.engine import Arrays
from stemctx_core.errors import StemctxError
from stemctx_core.results import EngineInfo

#: Range of every dynamic axis by its name in the exported graph: least, typical, most.
AXIS_RANGES: Final = {"patches": (1, 1024, 4096), "candidates": (2, 8, 64)}
_OTHER_AXIS: Final = (1, 256, 1024)
_WORKSPACE_BYTES: Final = 1 << 30


class TensorRtError(StemctxError):
    """TensorRT cannot build or run this model here; the caller falls back to the CPU."""


def build_plan(trt: Any, onnx_bytes: bytes, compute_capabilities: tuple[str, ...] = ()) -> bytes:
    """Compile a model.

    Parameters
    ----------
    trt
        The module ``tensorrt`` or ``tensorrt_rtx``.
    compute_capabilities
        TensorRT-RTX only: GPUs to compile for, such as ``SM89``, on a machine without one.

    Raises
    ------
    TensorRtError
        With what TensorRT said.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        said = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise TensorRtError(f"TensorRT cannot read the model: {said}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    if compute_capabilities:
        config.num_compute_capabilities = len(compute_capabilities)
        for index, name in enumerate(compute_capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shapes = zip(*(_axis(tensor, axis, size) for axis, size in enumerate(tuple(tensor.shape))), strict=True)
        profile.set_shape(tensor.name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise TensorRtError("TensorRT refused the range of batch sizes")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRtError("TensorRT could not build the model; see its log")
    return bytes(memoryview(plan))


def _axis(tensor: Any, axis: int, size: int) -> tuple[int, int, int]:
    return (size, size, size) if size >= 0 else AXIS_RANGES.get(tensor.get_dimension_name(axis), _OTHER_AXIS)


class TensorRtEngine:
    """One plan, one execution context, one stream; used from one thread.

    Parameters
    ----------
    onnx_bytes
        A model already checked against its hash.
    package
        ``tensorrt`` or ``tensorrt_rtx``.
    reason
        Why this engine was chosen.
    """

    def __init__(self, onnx_bytes: bytes, package: str, reason: str) -> None:
        self._device: dict[str, tuple[int, int]] = {}
        try:
            trt = importlib.import_module(package)
            self._cuda = importlib.import_module("cuda.bindings.runtime")
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
            self._engine = self._runtime.deserialize_cuda_engine(build_plan(trt, onnx_bytes))
            self._context: Any = None if self._engine is None else self._engine.create_execution_context()
        except (ImportError, AttributeError, TypeError, RuntimeError) as error:
            raise TensorRtError(f"{package} does not work here ({type(error).__name__}: {error})") from error
        if self._context is None:
            raise TensorRtError(f"{package} cannot load its own plan; is there enough GPU memory?")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        outputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self._inputs = [n for n in names if n not in outputs]
        (self._output,) = outputs
        self._stream = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        self.info = EngineInfo(f"{package} {trt.__version__}", reason)

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Evaluate the graph."""
        kind = self._cuda.cudaMemcpyKind
        kept = {name: np.ascontiguousarray(inputs[name], np.float32) for name in self._inputs}
        for name, array in kept.items():
            if not self._context.set_input_shape(name, array.shape):
                raise TensorRtError(f"'{name}' of shape {array.shape} is outside what the plan was built for")
            to = self._buffer(name, array.nbytes)
            self._copy(to, array.ctypes.data, array.nbytes, kind.cudaMemcpyHostToDevice)
        if missing := self._context.infer_shapes():
            raise TensorRtError(f"inputs without a shape: {missing}")
        output = np.empty(tuple(self._context.get_tensor_shape(self._output)), np.float32)
        source = self._buffer(self._output, output.nbytes)
        if not self._context.execute_async_v3(int(self._stream)):
            raise TensorRtError("the GPU did not take the work")
        self._copy(output.ctypes.data, source, output.nbytes, kind.cudaMemcpyDeviceToHost)
        self._call("cudaStreamSynchronize", self._stream)
        return output

    def close(self) -> None:
        """Free the device memory."""
        for address, _ in self._device.values():
            self._call("cudaFree", address)
        self._device.clear()
        if self._stream is not None:
            self._call("cudaStreamDestroy", self._stream)
            self._stream = None

    def _copy(self, to: int, source: int, nbytes: int, kind: Any) -> None:
        self._call("cudaMemcpyAsync", to, source, nbytes, kind, self._stream)

    def _buffer(self, name: str, nbytes: int) -> int:
        address, size = self._device.get(name, (0, 0))
        if size < max(nbytes, 1):
            if size:
                self._call("cudaStreamSynchronize", self._stream)
                self._call("cudaFree", address)
            size = 1 << math.ceil(math.log2(max(nbytes, 256)))
            address = int(self._call("cudaMalloc", size))
            self._device[name] = (address, size)
            if not self._context.set_tensor_address(name, address):
                raise TensorRtError(f"TensorRT does not take a buffer for '{name}'")
        return address

    def _call(self, name: str, *values: Any) -> Any:
        code, *rest = getattr(self._cuda, name)(*values)
        if int(code) != 0:
            raise TensorRtError(f"{name} failed ({code})")
        return rest[0] if rest else None
