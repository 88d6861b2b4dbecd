"""The compiled loops behind `patches`: add up columns on the samples of a patch, and count electrons.

No operation may be reordered (no fast-math), and every patch counts with its own stream of the seed, so that counts
depend neither on the number of threads nor on what else is rendered.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.contrast.patches import HALF_WIDTH, SIDE, sample_offsets
from stemctx_core.dataset.counting import poisson, stream
from stemctx_core.kernels.compiled import compiled
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_CENTRE: Final = np.float32((SIDE - 1) / 2)
_SQUARED_REACH: Final = np.float32(REACH_ANGSTROM**2)
_CELLS_PER_SQUARED_ANGSTROM: Final = np.float32(1 / SQUARED_STEP)


@lru_cache(maxsize=2)
def sample_spans(only_features: bool) -> NDArray[np.int64]:
    """Samples to render, and the part of them that is counted first.

    Returns
    -------
    numpy.ndarray
        (SIDE, 4) for each line of samples: first and past-the-last sample to render, then of the disc that
        features use.
    """
    inside = (np.linalg.norm(sample_offsets(), axis=1) <= HALF_WIDTH).reshape(SIDE, SIDE)
    disc = np.stack([inside.argmax(axis=1), SIDE - inside[:, ::-1].argmax(axis=1)], axis=1)
    rendered = disc if only_features else np.tile([0, SIDE], (SIDE, 1))
    return np.concatenate([rendered, disc], axis=1).astype(np.int64)


@compiled(error_model="numpy")
def _add_column(image, table, y, x, factor, spans, step, cells, shares):  # type: ignore[no-untyped-def]
    """Add one column at y, x (Å from the centre) to the samples within its reach; `step` is theirs in Å.

    `cells` and `shares` are room for one line: places in the table are found first, in a loop that the compiler
    turns into vectors. Indices are unsigned, which spares the check for negative ones.
    """
    per_angstrom = np.float32(1) / step
    for i in range(SIDE):
        dy = (np.float32(i) - _CENTRE) * step - y
        left = _SQUARED_REACH - dy * dy
        if left <= 0:
            continue
        half = math.sqrt(left)
        first = max(spans[i, 0], np.int64(math.ceil((x - half) * per_angstrom + _CENTRE)))
        last = min(spans[i, 1], np.int64(math.floor((x + half) * per_angstrom + _CENTRE)) + 1)
        for j in range(last - first):
            dx = (np.float32(np.int32(first + j)) - _CENTRE) * step - x
            place = (dy * dy + dx * dx) * _CELLS_PER_SQUARED_ANGSTROM
            cell = np.int32(place)
            cells[j] = cell
            shares[j] = place - np.float32(cell)
        for j in range(last - first):
            entry = np.uintp(cells[j])
            low = table[entry]
            value = low + (table[entry + np.uintp(1)] - low) * shares[j]
            image[np.uintp(i), np.uintp(first + j)] += factor * value


@compiled(error_model="numpy")
def count_patches(  # type: ignore[no-untyped-def]
    electrons,
    slots,
    tables,
    around,
    kind,
    own,
    rows,
    amplitude,
    vacant_bond,
    vacancy,
    spans,
    step_angstrom,
    background,
    electrons_per_sample,
    seed,
):
    """Count the electrons of every patch around one sublattice.

    Parameters
    ----------
    electrons
        (n, SAMPLES) float32, zeros; receives the counts.
    slots
        (R, C) where the patch of a row and candidate goes, -1 where it is not wanted. A patch counts with the stream
        of that number.
    tables
        Response tables of all candidates.
    around, kind, own, amplitude, vacant_bond
        As in `patches._Drawn`.
    rows
        (C,) row of the tables for each candidate.
    vacancy
        Row of the tables of a chalcogen column that lacks an atom.
    spans
        From `sample_spans`.
    """
    repeats, neighbours = kind.shape
    step = np.float32(step_angstrom)
    base = np.empty((SIDE, SIDE), np.float32)
    image = np.empty((SIDE, SIDE), np.float32)
    cells, shares = np.empty(SIDE, np.int32), np.empty(SIDE, np.float32)
    for r in range(repeats):
        base[:] = background
        for n in range(neighbours):
            y, x, factor = around[r, n, 0], around[r, n, 1], amplitude[r, n]
            _add_column(base, tables[kind[r, n]], y, x, factor, spans, step, cells, shares)
        for c in range(len(rows)):
            slot = slots[r, c]
            if slot < 0:
                continue
            image[:] = base
            y, x, factor = own[r, c, 0], own[r, c, 1], amplitude[r, neighbours + c]
            _add_column(image, tables[rows[c]], y, x, factor, spans, step, cells, shares)
            n = vacant_bond[r, c]
            if n >= 0:
                y, x, factor = around[r, n, 0], around[r, n, 1], amplitude[r, n]
                _add_column(image, tables[kind[r, n]], y, x, -factor, spans, step, cells, shares)
                _add_column(image, tables[vacancy], y, x, factor, spans, step, cells, shares)
            state = stream(seed, slot)
            out = electrons[slot].reshape(SIDE, SIDE)
            for i in range(SIDE):
                for j in range(spans[i, 2], spans[i, 3]):
                    state, count = poisson(state, image[i, j] * electrons_per_sample)
                    out[i, j] = count
            for i in range(SIDE):
                for j in range(spans[i, 0], spans[i, 2]):
                    state, count = poisson(state, image[i, j] * electrons_per_sample)
                    out[i, j] = count
                for j in range(spans[i, 3], spans[i, 1]):
                    state, count = poisson(state, image[i, j] * electrons_per_sample)
                    out[i, j] = count
