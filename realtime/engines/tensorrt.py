"""TensorRT 10 and 11 and TensorRT-RTX behind the interface of `stemctx_core.classifier.engine.Engine`.

Never made where `realtime.engines.driver` finds no device.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections import OrderedDict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from realtime.engines.builder import LARGEST_BATCH, PROFILE, TensorRtError, build_plan, supported_capabilities
from realtime.engines.device import Cuda
from realtime.engines.driver import Gpu
from realtime.engines.lane import Lane, Shapes
from realtime.engines.plans import PlanCache, PlanKey
from realtime.engines.rtx import RtxKernels
from realtime.engines.trt_log import new_logger
from stemctx_core.classifier.engine import Arrays
from stemctx_core.results import EngineInfo

logger = logging.getLogger(__name__)

#: Batches are filled up to one of these, so that few shapes occur and each is prepared once.
BATCHES: Final = (64, 256, LARGEST_BATCH)
#: Shapes kept ready; the one that was not used for longest goes.
_MOST_LANES: Final = 6
_ROWS: Final = "patches"


def plan_target(trt: Any, gpu: Gpu) -> tuple[str, ...]:
    """What a plan for this GPU is built for, as its key says it."""
    return (
        (gpu.capability,) if supported_capabilities(trt) else (gpu.name, gpu.capability, f"CUDA {gpu.driver}")
    )


def plan_key(trt: Any, onnx_bytes: bytes, target: tuple[str, ...], content: str = "plan") -> PlanKey:
    """Key of a plan, or of what else is kept for it."""
    digest = hashlib.sha256(onnx_bytes).hexdigest()
    return PlanKey(digest, trt.__name__, trt.__version__, target, PROFILE, content)


def cached_or_built(trt: Any, onnx_bytes: bytes, gpu: Gpu, cache: PlanCache | None) -> bytes:
    """The plan for this GPU: one built here before, or a new one, which is kept.

    A plan of TensorRT-RTX that was compiled ahead of time serves every GPU that it was compiled for.
    """
    key = plan_key(trt, onnx_bytes, plan_target(trt, gpu))
    portable = supported_capabilities(trt)
    if cache is not None:
        keys = [key]
        if portable:
            same = [r.key for r in cache.records() if _covers(r.key, key, gpu.capability)]
            keys += same
        for known in keys:
            if (plan := cache.get(known)) is not None:
                return plan
    plan = build_plan(trt, onnx_bytes, (gpu.capability,) if portable else ())
    if cache is not None:
        try:
            cache.put(key, plan)
        except OSError as error:
            logger.warning("the plan was not kept: %s", error)
    return plan


def _covers(known: PlanKey, wanted: PlanKey, capability: str) -> bool:
    return capability in known.target and plan_identity(known) == plan_identity(wanted)


def plan_identity(key: PlanKey) -> tuple[str, ...]:
    """All of a key but its target."""
    return key.onnx_sha256, key.package, key.version, key.profile, key.content


class TensorRtEngine:
    """One plan, one stream, and a few shapes kept ready; used from one thread.

    Parameters
    ----------
    onnx_bytes
        A model already checked against its hash.
    package
        ``tensorrt`` or ``tensorrt_rtx``.
    gpu
        The device.
    reason
        Why this engine was chosen.
    cache
        Plans of this user; None builds anew and keeps nothing.

    Raises
    ------
    TensorRtError
        Where it does not work here.
    """

    def __init__(
        self, onnx_bytes: bytes, package: str, gpu: Gpu, reason: str, cache: PlanCache | None = None
    ) -> None:
        self._lanes: OrderedDict[tuple[tuple[int, ...], ...], Lane] = OrderedDict()
        self._cuda: Cuda | None = None
        try:
            trt = importlib.import_module(package)
            self._log = new_logger(trt)
            self._runtime = trt.Runtime(self._log)
            plan = cached_or_built(trt, onnx_bytes, gpu, cache)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise TensorRtError(f"{package} cannot load its own plan: {'; '.join(self._log.errors)}")
            self._kernels = None
            if supported_capabilities(trt):
                key = plan_key(trt, onnx_bytes, (gpu.name, gpu.capability, f"CUDA {gpu.driver}"), "kernels")
                self._kernels = RtxKernels(trt, self._engine, key, cache)
            self._read_names(trt)
            self._cuda = Cuda()
        except (ImportError, AttributeError, TypeError, RuntimeError, OSError) as error:
            raise TensorRtError(f"{package} does not work here ({type(error).__name__}: {error})") from error
        self.info = EngineInfo(f"{package} {trt.__version__} ({gpu.name})", reason)

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Evaluate the graph; more rows than `LARGEST_BATCH` are run in turns."""
        rows = len(inputs[_ROWS])
        parts = []
        for start in range(0, max(rows, 1), LARGEST_BATCH):
            part = {**inputs, _ROWS: inputs[_ROWS][start : start + LARGEST_BATCH]}
            parts.append(self._lane(part).run(part, len(part[_ROWS])))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Free the device memory; safe to call twice."""
        while self._lanes:
            self._lanes.popitem()[1].close()
        if self._cuda is not None:
            self._cuda.close()
            self._cuda = None

    def _read_names(self, trt: Any) -> None:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        if any(self._engine.get_tensor_dtype(n) != trt.DataType.FLOAT for n in names):
            raise TensorRtError("the graph's inputs and outputs are not all float32")
        outputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        if len(outputs) != 1:
            raise TensorRtError(f"the graph has {len(outputs)} outputs instead of one")
        self._inputs = [n for n in names if n not in outputs]
        self._output = outputs[0]

    def _lane(self, inputs: Arrays) -> Lane:
        if self._cuda is None:
            raise TensorRtError("the engine is closed")
        filled = next(b for b in BATCHES if b >= len(inputs[_ROWS]))
        shapes: Shapes = {name: tuple(inputs[name].shape) for name in self._inputs}
        shapes[_ROWS] = (filled, *shapes[_ROWS][1:])
        key = tuple(shapes.values())
        if key in self._lanes:
            self._lanes.move_to_end(key)
            return self._lanes[key]
        while len(self._lanes) >= _MOST_LANES:
            self._lanes.popitem(last=False)[1].close()
        context = self._engine.create_execution_context() if self._kernels is None else self._kernels.context()
        if context is None:
            raise TensorRtError("there is not enough GPU memory for another shape")
        lane = Lane(context, self._cuda, shapes, self._output, graph=self._kernels is None)
        self._lanes[key] = lane
        if self._kernels is not None:
            self._kernels.keep()
        return lane
