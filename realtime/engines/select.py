"""Choose what runs the model, and say why."""

from __future__ import annotations

import importlib.util
import logging
from enum import StrEnum
from typing import Final

from realtime.engines.driver import probe_driver
from stemctx_core.engine import Engine, OnnxRuntimeEngine
from stemctx_core.errors import InputError

logger = logging.getLogger(__name__)

#: Python packages of TensorRT, the best first; both are driven by the same code.
TENSORRT_PACKAGES: Final = ("tensorrt", "tensorrt_rtx")


class EngineKind(StrEnum):
    """What can be asked for."""

    ONNX_RUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


def select_engine(
    onnx_bytes: bytes, prefer: EngineKind | str | None = None, threads: int | None = None
) -> Engine:
    """Load the model into the best engine that works here.

    Parameters
    ----------
    onnx_bytes
        A model already checked against its hash.
    prefer
        An `EngineKind` that must be used; None tries TensorRT and falls back to ONNX Runtime.
    threads
        Of ONNX Runtime.

    Returns
    -------
    Engine
        Its `info` names the reason.

    Raises
    ------
    InputError
        An unknown engine, or one that was asked for and cannot run here.
    """
    kind = _kind(prefer)
    if kind is EngineKind.ONNX_RUNTIME:
        return OnnxRuntimeEngine(onnx_bytes, "asked for", threads)
    obstacle = tensorrt_obstacle()
    if not obstacle:
        from realtime.engines.tensorrt import TensorRtEngine, TensorRtError

        try:
            return TensorRtEngine(onnx_bytes, _package(), "asked for" if kind else "the driver has a device")
        except TensorRtError as error:
            logger.warning("TensorRT failed: %s", error)
            obstacle = str(error)
    if kind is EngineKind.TENSORRT:
        raise InputError(
            f"TensorRT cannot be used: {obstacle}. Leave --engine out to use ONNX Runtime on the CPU."
        )
    return OnnxRuntimeEngine(onnx_bytes, f"TensorRT not used: {obstacle}", threads)


def tensorrt_obstacle() -> str:
    """Say why TensorRT cannot run here; empty where nothing speaks against it."""
    probe = probe_driver()
    if not probe.devices:
        return probe.reason
    if not _package():
        return f'{probe.reason}, but TensorRT is not installed (pip install "stemctx[tensorrt]")'
    if importlib.util.find_spec("cuda") is None:
        return f'{probe.reason}, but cuda-bindings is not installed (pip install "stemctx[tensorrt]")'
    return ""


def _package() -> str:
    return next((name for name in TENSORRT_PACKAGES if importlib.util.find_spec(name)), "")


def _kind(prefer: EngineKind | str | None) -> EngineKind | None:
    if prefer is None or prefer == "auto":
        return None
    try:
        return EngineKind(prefer)
    except ValueError:
        known = ", ".join(EngineKind)
        raise InputError(f"There is no engine '{prefer}'. Choose one of: auto, {known}.") from None
