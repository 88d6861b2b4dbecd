"""Plans made before they are needed: for this GPU, or with TensorRT-RTX for GPUs that are not here."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from realtime.engines.builder import build_plan, supported_capabilities
from realtime.engines.driver import probe_driver
from realtime.engines.plans import PlanCache, PlanRecord
from realtime.engines.select import GPU_KINDS, TITLES, EngineKind, Precision, gpu_obstacle
from realtime.engines.tensorrt import plan_key, plan_target
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.errors import InputError


class MadePlan(msgspec.Struct, frozen=True):
    """A plan that was built just now, and how long it took."""

    precision: str
    seconds: float
    record: PlanRecord


def make_plans(
    bundle: Path | None,
    precisions: tuple[Precision, ...],
    capabilities: tuple[str, ...] = (),
    kind: EngineKind | None = None,
) -> Iterator[MadePlan]:
    """Build and keep a plan of each precision.

    Parameters
    ----------
    capabilities
        GPUs to compile for; none for the GPU of this machine.
    kind
        With what; the best that can by default.

    Raises
    ------
    InputError
        Where nothing here can make such plans.
    TensorRtError, PlanCacheError
        See `build_plan` and `PlanCache`.
    """
    trt, target = _library(capabilities, kind)
    cache = PlanCache()
    for precision in precisions:
        content = load_bundle(bundle, half=precision is Precision.FP16).onnx_bytes
        began = time.perf_counter()
        plan = build_plan(trt, content, target if supported_capabilities(trt) else ())
        seconds = time.perf_counter() - began
        yield MadePlan(precision.value, seconds, cache.put(plan_key(trt, content, target), plan))


def _library(capabilities: tuple[str, ...], kind: EngineKind | None) -> tuple[Any, tuple[str, ...]]:
    """Module and target of the plans."""
    if capabilities:
        if kind is EngineKind.TENSORRT:
            raise InputError(
                "TensorRT builds for the GPU of this machine. Leave --for out, or use tensorrt_rtx."
            )
        package = EngineKind.TENSORRT_RTX.value
        if importlib.util.find_spec(package) is None:
            raise InputError("TensorRT-RTX is not installed. Run: pip install tensorrt-rtx-cu13")
        trt = importlib.import_module(package)
        if unknown := sorted(set(capabilities) - set(supported_capabilities(trt))):
            raise InputError(
                f"TensorRT-RTX {trt.__version__} does not compile for {', '.join(unknown)}. "
                f"Choose of: {', '.join(supported_capabilities(trt))}."
            )
        return trt, tuple(sorted(set(capabilities)))
    probe = probe_driver()
    obstacles = {k: gpu_obstacle(k, probe) for k in GPU_KINDS if kind in (None, k)}
    usable = next((k for k, obstacle in obstacles.items() if not obstacle), None)
    if usable is None or probe.gpu is None:
        said = "; ".join(f"{TITLES[k]}: {obstacle}" for k, obstacle in obstacles.items())
        raise InputError(
            f"No plan can be built for the GPU of this machine ({said}). "
            "Plans for other GPUs are compiled with --for, such as --for SM89."
        )
    try:
        trt = importlib.import_module(usable.value)
    except ImportError as error:
        raise InputError(f"{TITLES[usable]} cannot be imported ({error}). Install it again.") from error
    return trt, plan_target(trt, probe.gpu)
