"""Patches of every candidate of a scene, counted electron by electron."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from stemctx_core.classes import Role, Sublattice
from stemctx_core.encoding import Scene, host_rows, scene_tables
from stemctx_core.neighbourhood import neighbourhood
from stemctx_core.patches import PITCH, SAMPLES, sample_offsets
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP


@dataclass(frozen=True)
class RenderedPatches:
    """Patches of one scene, as counted.

    Attributes
    ----------
    electrons
        (n, SAMPLES) float32 electrons counted in each sample.
    label
        (n,) int64 index into the scene's candidates.
    electrons_per_sample
        What the whole beam would count in a sample: dose times its area.
    reference
        Peak of the brighter host column as a fraction of the beam.
    """

    electrons: NDArray[np.float32]
    label: NDArray[np.int64]
    electrons_per_sample: float
    reference: float


def render_patches(
    library: ResponseLibrary, truth: Scene, repeats: int, rng: np.random.Generator
) -> RenderedPatches:
    """`repeats` patches of every candidate of a scene, with neighbours, displacements and counting noise.

    Every candidate's simulated response is off by one draw of the nuisance `response`.
    """
    tables = scene_tables(library, truth)
    metal, chalcogen = host_rows(truth.candidates)
    reference = float(max(tables[metal, 0], tables[chalcogen, 0]))
    defect = np.array([c.is_defect for c in truth.candidates])
    off = np.where(defect, 1 + rng.normal(0, truth.nuisance.response, len(defect)), 1.0).astype(np.float32)
    electrons_per_sample = truth.dose_e_per_angstrom2 * (PITCH * truth.host.a_angstrom) ** 2
    mean, label = _mean_patches(truth, tables * off[:, None], reference, repeats, rng)
    electrons = rng.poisson(np.clip(mean, 0, None) * electrons_per_sample).astype(np.float32)
    return RenderedPatches(electrons, label, electrons_per_sample, reference)


def _mean_patches(
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
        patches.append(mean.reshape(-1, SAMPLES))
        labels.append(np.tile(rows, repeats))
    return np.concatenate(patches), np.concatenate(labels)


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
