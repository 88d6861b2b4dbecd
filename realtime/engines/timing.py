"""How many patches an engine judges in a second."""

from __future__ import annotations

import time
from typing import Final

import msgspec
import numpy as np

from stemctx_core.classifier.engine import Arrays, Engine

#: Runs of a batch at least, whatever time was given.
_FEWEST_RUNS: Final = 3


class EngineTiming(msgspec.Struct, frozen=True):
    """One engine at one batch size.

    Attributes
    ----------
    engine
        Its own name.
    threads
        Of the CPU engine; 0 on a GPU.
    batch
        Patches in a call.
    patches_per_s
        From the median time of a call.
    patches_per_cpu_s
        For each second of processor time of this process.
    runs
        Calls that were timed.
    """

    engine: str
    threads: int
    batch: int
    patches_per_s: float
    patches_per_cpu_s: float
    runs: int


def time_engine(engine: Engine, inputs: Arrays, batch: int, threads: int, seconds: float) -> EngineTiming:
    """Run a batch again and again for a while, after a first call that is not counted.

    Parameters
    ----------
    inputs
        Of the graph; its patches are repeated to fill the batch.
    """
    given = {**inputs, "patches": np.resize(inputs["patches"], (batch, inputs["patches"].shape[1]))}
    engine.run(given)
    took: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    while len(took) < _FEWEST_RUNS or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        engine.run(given)
        took.append(time.perf_counter() - started)
    cpu = (time.process_time() - cpu) / len(took)
    per_cpu = round(batch / cpu) if cpu > 0 else 0
    return EngineTiming(
        engine.info.name, threads, batch, round(batch / float(np.median(took))), per_cpu, len(took)
    )
