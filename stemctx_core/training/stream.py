"""An endless stream of labelled patches: every group is one simulated frame's worth of truth and of what is told.

Truth is drawn first; what the model is told of it (source size, gain, background, ratio X2/M, responses) is drawn
around the truth with uncertainties that it is told as well. A group is a pure function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from stemctx_core import classes, materials
from stemctx_core.classes import Role, Sublattice
from stemctx_core.encoding import EncodedScene, Nuisance, Scene, encode, host_rows, scene_tables
from stemctx_core.materials import Host
from stemctx_core.neighbourhood import neighbourhood
from stemctx_core.patches import PITCH, SAMPLES, sample_offsets
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP, Optics

BENCHMARK_ENERGIES_KV: Final = (60.0, 80.0, 200.0)
BENCHMARK_DETECTORS_MRAD: Final = ((50.0, 120.0), (70.0, 200.0))
CONVERGENCE_MRAD: Final = 30.0

#: Relative errors of the dose and of the scatter that the model is told, as a frame gives them.
DOSE_TOLD_SD: Final = 0.1
SCATTER_TOLD_SD: Final = 0.15

#: Ranges that the model is trained on; they go into its card.
TRAINING_RANGES: Final = {
    "dose_e_per_angstrom2": (8e2, 1.2e6),
    "sigma_angstrom": (0.30, 0.65),
    "background": (0.0, 1.0),
    "inner_mrad": (40.0, 100.0),
    "detector_width_mrad": (40.0, 130.0),
    "jitter_angstrom": (0.02, 0.08),
    "shift_angstrom": (0.02, 0.10),
    "amplitude": (0.0, 0.10),
    "response": (0.0, 0.05),
    "gain": (0.001, 0.02),
    "ratio": (0.001, 0.03),
    "ratio_factor": (0.8, 1.25),
}


@dataclass(frozen=True)
class Group:
    """Patches of one scene.

    Attributes
    ----------
    patches
        (n, SAMPLES) float32, calibrated as the model expects.
    label
        (n,) int64 index into the scene's candidates.
    scene
        What the model is told.
    encoded
        The model's context inputs for that scene.
    """

    patches: NDArray[np.float32]
    label: NDArray[np.int64]
    scene: Scene
    encoded: EncodedScene


@dataclass(frozen=True)
class Case:
    """One of the benchmark's 576, or any other material and condition."""

    host: Host
    dopants: tuple[str, ...]
    high_tension_kv: float
    inner_mrad: float
    outer_mrad: float


def benchmark_cases() -> list[Case]:
    """The 576 cases: 96 materials × 3 energies × 2 detectors."""
    return [
        Case(host, (dopant,), kv, *detector)
        for host in materials.hosts().values()
        for dopant in materials.benchmark_dopants(host.name)
        for kv in BENCHMARK_ENERGIES_KV
        for detector in BENCHMARK_DETECTORS_MRAD
    ]


def random_case(rng: np.random.Generator, dopant_count: int, outer_limit_mrad: float) -> Case:
    """A host, dopants and a condition: half of them on the benchmark's grid, half with continuous angles."""
    host = list(materials.hosts().values())[rng.integers(len(materials.hosts()))]
    dopants = tuple(
        str(d)
        for d in rng.choice(np.array(materials.benchmark_dopants(host.name)), dopant_count, replace=False)
    )
    kv = BENCHMARK_ENERGIES_KV[rng.integers(len(BENCHMARK_ENERGIES_KV))]
    if rng.random() < 0.5:
        inner, outer = BENCHMARK_DETECTORS_MRAD[rng.integers(len(BENCHMARK_DETECTORS_MRAD))]
    else:
        inner = rng.uniform(*TRAINING_RANGES["inner_mrad"])
        outer = min(outer_limit_mrad, inner + rng.uniform(*TRAINING_RANGES["detector_width_mrad"]))
    return Case(host, dopants, kv, float(inner), float(outer))


def random_truth(rng: np.random.Generator, case: Case) -> Scene:
    """A scene with all its uncertainties, drawn over `TRAINING_RANGES`."""
    r = TRAINING_RANGES

    def log_uniform(name: str) -> float:
        low, high = r[name]
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    hazy = rng.random() < 0.25
    nuisance = Nuisance(
        jitter_angstrom=rng.uniform(*r["jitter_angstrom"]),
        shift_angstrom=rng.uniform(*r["shift_angstrom"]),
        amplitude=0.0 if rng.random() < 0.5 else rng.uniform(*r["amplitude"]),
        gain=log_uniform("gain"),
        ratio=log_uniform("ratio"),
        background=log_uniform("gain") / 2,
        sigma_angstrom=log_uniform("gain"),
        response=0.0 if rng.random() < 0.3 else rng.uniform(*r["response"]),
        defects=0.03,
    )
    return Scene(
        host=case.host,
        candidates=classes.candidates(case.host.name, case.dopants),
        optics=Optics(
            case.high_tension_kv,
            CONVERGENCE_MRAD,
            case.inner_mrad,
            case.outer_mrad,
            rng.uniform(*r["sigma_angstrom"]),
        ),
        dose_e_per_angstrom2=log_uniform("dose_e_per_angstrom2"),
        background=rng.uniform(0, 1.0) if hazy else rng.uniform(0, 0.06),
        ratio=1.0 if rng.random() < 0.5 else rng.uniform(*r["ratio_factor"]),
        nuisance=nuisance,
    )


def make_group(library: ResponseLibrary, truth: Scene, repeats: int, rng: np.random.Generator) -> Group:
    """Render `repeats` patches of every candidate of a scene, and encode what the model is told of it."""
    n = truth.nuisance
    told = replace(
        truth,
        dose_e_per_angstrom2=truth.dose_e_per_angstrom2 * np.exp(rng.normal(0, DOSE_TOLD_SD)),
        nuisance=replace(
            n,
            jitter_angstrom=n.jitter_angstrom * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
            shift_angstrom=n.shift_angstrom * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
            amplitude=n.amplitude * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
        ),
        optics=replace(
            truth.optics, sigma_angstrom=truth.optics.sigma_angstrom + rng.normal(0, n.sigma_angstrom)
        ),
        background=max(0.0, truth.background + rng.normal(0, n.background)),
        ratio=truth.ratio * (1 + rng.normal(0, n.ratio)),
    )
    encoded = encode(library, told)
    tables = scene_tables(library, truth)
    metal, chalcogen = host_rows(truth.candidates)
    reference = float(max(tables[metal, 0], tables[chalcogen, 0]))
    defect = np.array([c.is_defect for c in truth.candidates])
    tables = (
        tables * np.where(defect, 1 + rng.normal(0, n.response, len(defect)), 1.0).astype(np.float32)[:, None]
    )
    fraction, label = _render_candidates(truth, tables, reference, repeats, rng)
    gain = 1 + rng.normal(0, n.gain)
    patches = (fraction / reference - told.background) * gain
    return Group(patches.astype(np.float32), label, told, encoded)


def _render_candidates(
    truth: Scene, tables: NDArray[np.float32], reference: float, repeats: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    n, a = truth.nuisance, truth.host.a_angstrom
    metal, chalcogen = host_rows(truth.candidates)
    roles = [c.role for c in truth.candidates]
    dopants = [i for i, role in enumerate(roles) if role is Role.DOPANT] or [roles.index(Role.METAL_VACANCY)]
    patches, labels = [], []
    for centre in Sublattice:
        rows = np.array([i for i, c in enumerate(truth.candidates) if c.sublattice is centre])
        near = neighbourhood(centre)
        count = len(near.positions) - 1
        kind = np.where(near.on_metal[1:], metal, chalcogen) + np.zeros((repeats, 1), np.int64)
        replaced = rng.random((repeats, count)) < n.defects
        other = np.where(
            near.on_metal[1:],
            np.array(dopants)[rng.integers(len(dopants), size=(repeats, count))],
            roles.index(Role.CHALCOGEN_VACANCY),
        )
        kind = np.where(replaced, other, kind)
        shift = rng.normal(0, n.shift_angstrom, (repeats, 1, 2))
        around = near.positions[1:] * a + rng.normal(0, n.jitter_angstrom, (repeats, count, 2)) + shift
        own = rng.normal(0, n.jitter_angstrom, (repeats, len(rows), 2)) + shift
        amplitude = (
            1 + rng.normal(0, n.amplitude, (repeats, count + len(rows)))
            if n.amplitude
            else np.ones((repeats, count + len(rows)))
        )
        mean = np.zeros((repeats, len(rows), SAMPLES), np.float32)
        _add_columns(mean, tables, around, kind, own, rows, amplitude, sample_offsets() * a)
        mean += np.float32(truth.background * reference)
        electrons = truth.dose_e_per_angstrom2 * (PITCH * a) ** 2
        patches.append(rng.poisson(np.clip(mean, 0, None) * electrons).reshape(-1, SAMPLES) / electrons)
        labels.append(np.tile(rows, repeats))
    return np.concatenate(patches).astype(np.float32), np.concatenate(labels)


@numba.njit(fastmath=True, cache=True)
def _add_column(image, table, y, x, factor, offsets):  # type: ignore[no-untyped-def]
    for k in range(len(offsets)):
        squared = (offsets[k, 0] - y) ** 2 + (offsets[k, 1] - x) ** 2
        if squared < REACH_ANGSTROM * REACH_ANGSTROM:
            place = squared / SQUARED_STEP
            cell = int(place)
            share = place - cell
            image[k] += factor * (table[cell] * (1 - share) + table[cell + 1] * share)


@numba.njit(fastmath=True, cache=True)
def _add_columns(mean, tables, around, kind, own, rows, amplitude, offsets):  # type: ignore[no-untyped-def]
    repeats, count = kind.shape
    for r in range(repeats):
        base = np.zeros(len(offsets), np.float32)
        for j in range(count):
            _add_column(base, tables[kind[r, j]], around[r, j, 0], around[r, j, 1], amplitude[r, j], offsets)
        for c in range(len(rows)):
            mean[r, c] += base
            factor = amplitude[r, count + c]
            _add_column(mean[r, c], tables[rows[c]], own[r, c, 0], own[r, c, 1], factor, offsets)
