"""Which engines are installed, and which of them work here."""

from __future__ import annotations

import importlib.metadata

import msgspec

from realtime.engines.driver import probe_driver
from realtime.engines.select import GPU_KINDS, TITLES, EngineKind, Precision, gpu_obstacle, start_on_gpu
from stemctx_core.classifier.engine import Engine, OnnxRuntimeEngine
from stemctx_core.errors import StemctxError


class EngineState(msgspec.Struct, frozen=True):
    """One engine on this machine.

    Attributes
    ----------
    engine, title
        As it is asked for, and its name.
    version
        Of the installed package; empty where there is none.
    works
        Whether it ran the model and gave the CPU's answers.
    said
        Its own name, or why it does not work.
    """

    engine: str
    title: str
    version: str
    works: bool
    said: str


def installed_version(kind: EngineKind) -> str:
    """Version of the package that an engine is imported from, without importing it; empty where there is none."""
    names = importlib.metadata.packages_distributions().get(kind.value, [])
    return importlib.metadata.version(names[0]) if names else ""


def working_engines(
    onnx_bytes: bytes, threads: int | None = None, precision: Precision = Precision.FP32
) -> tuple[list[EngineState], dict[EngineKind, Engine]]:
    """Try every engine with a model; the engines that work are the caller's to close."""
    probe = probe_driver()
    states: list[EngineState] = []
    engines: dict[EngineKind, Engine] = {}
    for kind in (*GPU_KINDS, EngineKind.ONNX_RUNTIME):
        said = gpu_obstacle(kind, probe)
        if not said:
            try:
                if kind is EngineKind.ONNX_RUNTIME:
                    engines[kind] = OnnxRuntimeEngine(onnx_bytes, threads=threads)
                else:
                    engines[kind] = start_on_gpu(onnx_bytes, kind, probe, precision, "tried")
                said = engines[kind].info.name
            except StemctxError as error:
                said = str(error)
        states.append(EngineState(kind.value, TITLES[kind], installed_version(kind), kind in engines, said))
    return states, engines
