"""Every engine that works here, timed on the same patches."""

from __future__ import annotations

from pathlib import Path

import msgspec

from realtime.engines.agreement import example
from realtime.engines.inventory import EngineState, working_engines
from realtime.engines.select import EngineKind, Precision
from realtime.engines.timing import EngineTiming, time_engine
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.classifier.engine import Arrays, Engine, OnnxRuntimeEngine


class ComparedTiming(msgspec.Struct, frozen=True):
    """A timing beside the slowest way: ONNX Runtime, float32, one thread, the same batch."""

    precision: str
    times_one_thread: float
    timing: EngineTiming


class Comparison(msgspec.Struct, frozen=True):
    """What `stemctx engine benchmark` prints.

    Attributes
    ----------
    model
        Hash of the graph in single precision.
    engines
        All, with the reasons of those that were not timed.
    """

    model: str
    engines: list[EngineState]
    rows: list[ComparedTiming]


def compare(
    bundle: Path | None,
    precisions: tuple[Precision, ...],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    seconds: float,
) -> Comparison:
    """Time every engine that works, at every batch size; the CPU's with every number of threads."""
    inputs = example()
    full = load_bundle(bundle)
    single = {batch: time_engine(_cpu(full.onnx_bytes, 1), inputs, batch, 1, seconds) for batch in batches}
    rows: list[ComparedTiming] = []
    states: list[EngineState] = []
    for precision in precisions:
        content = load_bundle(bundle, half=True).onnx_bytes if precision is Precision.FP16 else full.onnx_bytes
        states, engines = working_engines(content, 1, precision)
        timed: list[tuple[Engine, int]] = [(engines.pop(EngineKind.ONNX_RUNTIME), 1)]
        timed += [(_cpu(content, count), count) for count in threads if count != 1]
        timed += [(engine, 0) for engine in engines.values()]
        for engine, count in timed:
            if count in (0, *threads):
                rows += [
                    _row(engine, inputs, batch, count, precision, single[batch], seconds) for batch in batches
                ]
            engine.close()
    return Comparison(full.sha256, states, rows)


def _row(
    engine: Engine,
    inputs: Arrays,
    batch: int,
    threads: int,
    precision: Precision,
    single: EngineTiming,
    seconds: float,
) -> ComparedTiming:
    same = precision is Precision.FP32 and threads == 1
    timing = single if same else time_engine(engine, inputs, batch, threads, seconds)
    return ComparedTiming(precision.value, round(timing.patches_per_s / single.patches_per_s, 3), timing)


def _cpu(content: bytes, threads: int) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(content, threads=threads)
