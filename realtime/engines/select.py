"""Choose what runs the model, and say why."""

from __future__ import annotations

import importlib.util
import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from realtime.engines.driver import DriverProbe, probe_driver
from realtime.engines.fallback import FallbackEngine
from stemctx_core.classifier.engine import Engine, OnnxRuntimeEngine
from stemctx_core.errors import InputError, StemctxError

if TYPE_CHECKING:
    from realtime.engines.plans import PlanCache
    from stemctx_core.classifier.classifier import Classifier

logger = logging.getLogger(__name__)


class EngineKind(StrEnum):
    """What can be asked for; a TensorRT is named as its Python package."""

    ONNX_RUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


class Precision(StrEnum):
    """In which numbers the scoring network works; the statistics around it are always float32."""

    FP32 = "fp32"
    FP16 = "fp16"


#: What is tried on a GPU, the best first.
GPU_KINDS: Final = (EngineKind.TENSORRT, EngineKind.TENSORRT_RTX)
TITLES: Final = {
    EngineKind.ONNX_RUNTIME: "ONNX Runtime",
    EngineKind.TENSORRT: "TensorRT",
    EngineKind.TENSORRT_RTX: "TensorRT-RTX",
}
_INSTALL: Final = {
    EngineKind.TENSORRT: 'pip install "stemctx[tensorrt]"',
    EngineKind.TENSORRT_RTX: "pip install tensorrt-rtx-cu13 cuda-bindings",
}


def load_classifier(bundle: Path | None = None, engine: str = "auto", threads: int | None = None) -> Classifier:
    """Read a bundle's graph of a precision, and load it into the best engine that works here.

    Parameters
    ----------
    engine
        ``auto`` or an `EngineKind`, with ``:fp16`` behind it for half precision.

    Raises
    ------
    BundleError
        See `stemctx_core.classifier.classifier.load_bundle`.
    InputError
        See `select_engine`.
    """
    from stemctx_core.classifier.classifier import Classifier, load_bundle

    kind, _, precision = engine.partition(":")
    wanted = precision_of(precision or Precision.FP32)
    loaded = load_bundle(bundle, half=wanted is Precision.FP16)
    return Classifier(loaded, select_engine(loaded.onnx_bytes, kind, threads, wanted))


def select_engine(
    onnx_bytes: bytes,
    prefer: EngineKind | str | None = None,
    threads: int | None = None,
    precision: Precision | str = Precision.FP32,
) -> Engine:
    """Load the model into the best engine that works here.

    Parameters
    ----------
    onnx_bytes
        A scorer's graph, already checked against its hash.
    prefer
        An `EngineKind` that must be used; None tries those of a GPU and falls back to ONNX Runtime, also where the
        GPU fails later.
    threads
        Of ONNX Runtime.
    precision
        Of the graph, to be named and to say how near the CPU's answers a GPU has to come.

    Returns
    -------
    Engine
        Its `info` names the reason.

    Raises
    ------
    InputError
        An unknown engine, or one that was asked for and cannot run here.
    """
    kind, precision = _kind(prefer), precision_of(precision)
    note = "" if precision is Precision.FP32 else f", {precision}"
    if kind is EngineKind.ONNX_RUNTIME:
        return OnnxRuntimeEngine(onnx_bytes, f"asked for{note}", threads)
    probe = probe_driver()
    obstacles = []
    for candidate in GPU_KINDS if kind is None else (kind,):
        obstacle = gpu_obstacle(candidate, probe)
        if not obstacle:
            try:
                reason = f"{'asked for' if kind else probe.reason}{note}"
                engine = start_on_gpu(onnx_bytes, candidate, probe, precision, reason)
                return engine if kind else FallbackEngine(engine, onnx_bytes, threads)
            except StemctxError as error:
                logger.warning("%s failed: %s", TITLES[candidate], error)
                obstacle = str(error)
        if kind is not None:
            raise InputError(
                f"{TITLES[kind]} cannot be used: {obstacle}. Leave --engine out to use ONNX Runtime on the CPU."
            )
        obstacles.append(f"{TITLES[candidate]} not used: {obstacle}")
        if not probe.devices:
            break
    return OnnxRuntimeEngine(onnx_bytes, "; ".join(obstacles) + note, threads)


def gpu_obstacle(kind: EngineKind, probe: DriverProbe | None = None) -> str:
    """Say why an engine cannot run here; empty where nothing speaks against it. Imports no engine."""
    probe = probe or probe_driver()
    if kind is EngineKind.ONNX_RUNTIME:
        return ""
    if not probe.devices:
        return probe.reason
    if not importlib.util.find_spec(kind.value):
        return f"{TITLES[kind]} is not installed ({_INSTALL[kind]})"
    if importlib.util.find_spec("cuda") is None:
        return f"cuda-bindings is not installed ({_INSTALL[kind]})"
    return ""


def precision_of(name: Precision | str) -> Precision:
    """The precision of that name.

    Raises
    ------
    InputError
        Where there is none.
    """
    try:
        return Precision(name)
    except ValueError:
        raise InputError(f"There is no precision '{name}'. Choose one of: {', '.join(Precision)}.") from None


def open_cache() -> PlanCache | None:
    """The user's plans; None, with a warning, where they cannot be kept safely."""
    from realtime.engines.plans import PlanCache, PlanCacheError

    try:
        return PlanCache()
    except PlanCacheError as error:
        logger.warning("plans are built at every start: %s", error)
        return None


def start_on_gpu(
    onnx_bytes: bytes, kind: EngineKind, probe: DriverProbe, precision: Precision, reason: str
) -> Engine:
    """Load the model into an engine that nothing speaks against, and compare its answers with the CPU's.

    Raises
    ------
    StemctxError
        Where it does not work, or its answers are others.
    """
    from realtime.engines.agreement import disagreement
    from realtime.engines.builder import TensorRtError
    from realtime.engines.tensorrt import TensorRtEngine

    if probe.gpu is None:
        raise TensorRtError(probe.reason)
    engine = TensorRtEngine(onnx_bytes, kind.value, probe.gpu, reason, open_cache())
    try:
        if wrong := disagreement(engine, OnnxRuntimeEngine(onnx_bytes, threads=1), precision):
            raise TensorRtError(wrong)
    except BaseException:
        engine.close()
        raise
    return engine


def _kind(prefer: EngineKind | str | None) -> EngineKind | None:
    if prefer is None or prefer == "auto":
        return None
    try:
        return EngineKind(prefer)
    except ValueError:
        known = ", ".join(EngineKind)
        raise InputError(f"There is no engine '{prefer}'. Choose one of: auto, {known}.") from None
