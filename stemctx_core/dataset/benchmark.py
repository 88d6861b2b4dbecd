"""How fast labelled sites are rendered, and what the obvious way of doing it would take.

A labelled site is one of a whole frame (1024 × 1024 pixels of 0.2 Å, a doped crystal of one of the 576 cases, Poisson
counts) or a patch of its own. Both are measured for some seconds in each worker process, every one on a single thread.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from stemctx_core.contrast.neighbourhood import neighbourhood
from stemctx_core.contrast.patches import PITCH, sample_offsets
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.crystal import CrystalRecipe, grow_crystal
from stemctx_core.dataset.patches import neighbour_defects, render_patches
from stemctx_core.dataset.recipe import DatasetRecipe
from stemctx_core.dataset.scenes import scene_truth
from stemctx_core.scene import Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.radial import PROFILE_RADII_ANGSTROM
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

_SITES: Final = 55_000_000
_SIDE_PX: Final = 1024
_PIXEL_ANGSTROM: Final = 0.2
_DOSE: Final = 1e4
_SIGMA_ANGSTROM: Final = 0.45
_PATCHES_OF_A_CANDIDATE: Final = 96
_REFERENCE_PATCHES: Final = 40


@dataclass(frozen=True)
class Rate:
    """What one worker did.

    Attributes
    ----------
    sites, seconds, processor_s
        Labelled sites, how long they took, and for how long a processor worked on them: on a machine that is busy with
        other things the first is longer, and the second says what a free one would do.
    stages_s
        Processor seconds in each stage.
    rss_mb
        Largest resident memory of the process.
    """

    sites: int
    seconds: float
    processor_s: float
    stages_s: dict[str, float]
    rss_mb: float


def measure(seconds: float, workers: int) -> dict[str, Any]:
    """Measure everything; the keys are those that `stemctx simulate benchmark --json` prints.

    Parameters
    ----------
    seconds
        For each measurement.
    workers
        Processes of the largest measurement; one process is measured too.
    """
    counts = sorted({1, workers})
    frames = {n: _run(render_frames, seconds, n) for n in counts}
    patches = {n: _run(render_some_patches, seconds, n) for n in counts}
    most, most_patches = frames[counts[-1]], patches[counts[-1]]
    reference = reference_rate(seconds)
    return {
        "sites_per_s": _rate(most),
        "patches_per_s": _rate(most_patches),
        "seconds_for_55_million": _SITES / _rate(most),
        "seconds_for_55_million_patches": _SITES / _rate(most_patches),
        "rss_mb": max(sum(r.rss_mb for r in run) for run in (most, most_patches)) + _rss_mb(),
        "workers": workers,
        "scaling": {
            str(n): {
                "sites_per_s": _rate(frames[n]),
                "patches_per_s": _rate(patches[n]),
                "sites_per_processor_s": _processor_rate(frames[n]),
                "patches_per_processor_s": _processor_rate(patches[n]),
            }
            for n in counts
        },
        "stages": {"frames_us_per_site": _stages(frames[1]), "patches_us_per_patch": _stages(patches[1])},
        "reference_patches_per_s": reference,
        "times_faster_than_reference": _rate(patches[1]) / reference,
        "load_average": psutil.getloadavg()[0],
        "processors": os.cpu_count(),
    }


def render_frames(seconds: float) -> Rate:
    """Frames of the 576 cases for some seconds."""
    library, cases = shipped_library(), benchmark_cases()

    def one(number: int, timed: _Timed) -> int:
        rng = np.random.default_rng([1, number])
        case = cases[number * 7919 % len(cases)]
        extent = (_SIDE_PX * _PIXEL_ANGSTROM,) * 2
        crystal = timed("crystal", lambda: grow_crystal(case.host, case.dopants, CrystalRecipe(), extent, rng))
        optics = case.optics(_SIGMA_ANGSTROM)
        names = [c.column for c in crystal.candidates]
        tables = timed("tables", lambda: response_tables(library, names, optics))
        positions = crystal.positions_angstrom / _PIXEL_ANGSTROM
        fraction = timed(
            "columns",
            lambda: render_columns(
                (_SIDE_PX, _SIDE_PX), _PIXEL_ANGSTROM, positions, crystal.column_index, tables
            ),
        )
        timed("counting", lambda: count_electrons(fraction, _DOSE, _PIXEL_ANGSTROM, rng))
        return int(np.all((positions >= -0.5) & (positions < _SIDE_PX - 0.5), axis=1).sum())

    return _repeat(one, seconds)


def render_some_patches(seconds: float) -> Rate:
    """Patches of training's scenes for some seconds, rendered where features use them."""
    library, recipe = shipped_library(), DatasetRecipe()

    def one(number: int, timed: _Timed) -> int:
        rng = np.random.default_rng([1, number])
        _, truth = scene_truth(recipe, number, rng)
        names = [c.column for c in truth.candidates]
        timed("tables", lambda: response_tables(library, names, truth.optics))
        rendered = timed(
            "columns and counting",
            lambda: render_patches(library, truth, _PATCHES_OF_A_CANDIDATE, rng, only_features=True),
        )
        return len(rendered.label)

    return _repeat(one, seconds)


def reference_rate(seconds: float) -> float:
    """Patches a second of the direct sum: every column's profile interpolated at every sample, NumPy's Poisson."""
    library, recipe = shipped_library(), DatasetRecipe()

    def one(number: int, timed: _Timed) -> int:
        rng = np.random.default_rng([1, number])
        _, truth = scene_truth(recipe, number, rng)
        return len(reference_patches(library, truth, _REFERENCE_PATCHES, rng))

    rate = _repeat(one, seconds)
    return rate.sites / rate.seconds


def reference_patches(
    library: ResponseLibrary, truth: Scene, patches: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(patches, SAMPLES) counts of random candidates, by the direct sum that `render_patches` does with tables."""
    o, n, a = truth.optics, truth.nuisance, truth.host.a_angstrom
    profiles = [
        library.profile(c.column, o.high_tension_kv, o.inner_mrad, o.outer_mrad, o.sigma_angstrom)
        for c in truth.candidates
    ]
    metal, chalcogen = host_rows(truth.candidates)
    reference = max(profiles[metal][0], profiles[chalcogen][0])
    samples, means = sample_offsets() * a, []
    for label in rng.integers(len(truth.candidates), size=patches):
        near = neighbourhood(truth.candidates[label].sublattice)
        rows = np.where(near.on_metal, metal, chalcogen)
        rows[0] = label
        for k in np.flatnonzero(rng.random(len(rows)) < n.defects):
            if k:
                others, share = neighbour_defects(
                    truth.candidates, truth.candidates[rows[k]].sublattice, of_every_kind=True
                )
                rows[k] = rng.choice(others, p=share)
        positions = near.positions * a + rng.normal(0, n.shift_angstrom, 2)
        positions = positions + rng.normal(0, n.jitter_angstrom, positions.shape)
        mean = np.full(len(samples), truth.background * reference)
        for row, position in zip(rows, positions, strict=True):
            distance = np.linalg.norm(samples - position, axis=1)
            mean += np.interp(distance, PROFILE_RADII_ANGSTROM, profiles[row])
        means.append(mean)
    return rng.poisson(np.array(means) * truth.dose_e_per_angstrom2 * (PITCH * a) ** 2)


class _Timed:
    """Calls what it is given, and adds up how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, call: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = call()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - began
        return result


def _repeat(one: Callable[[int, _Timed], int], seconds: float) -> Rate:
    one(0, _Timed())  # compiles
    timed, sites, number = _Timed(), 0, 1
    began, worked = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        sites += one(number, timed)
        number += 1
    return Rate(sites, time.perf_counter() - began, time.process_time() - worked, timed.seconds, _rss_mb())


def _run(work: Callable[[float], Rate], seconds: float, workers: int) -> list[Rate]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_single_thread) as pool:
        return list(pool.map(work, [seconds] * workers))


def _single_thread() -> None:
    import numba

    numba.set_num_threads(1)


def _rate(run: list[Rate]) -> float:
    return sum(r.sites / r.seconds for r in run)


def _processor_rate(run: list[Rate]) -> float:
    """Sites in a second of one processor."""
    return sum(r.sites for r in run) / sum(r.processor_s for r in run)


def _stages(run: list[Rate]) -> dict[str, float]:
    return {name: spent / run[0].sites * 1e6 for name, spent in run[0].stages_s.items()}


def _rss_mb() -> float:
    """Largest resident memory so far; not a number where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
