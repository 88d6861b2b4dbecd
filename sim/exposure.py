"""What the beam has done to a specimen: dose, atoms lost and carbon grown, place by place.

A history is never changed: exposing it gives another one that shares what was not touched, so that a frame can be
rendered ahead while the one before is still scanned. What a frame does is seen from the next frame on. An atom leaves
when the losses expected of it reach a number of its own, drawn once from the exponential distribution by a hash of
its place, so that the chance to be gone after the dose D is 1 - exp(-σ D) whatever the dose was split into.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from sim.geometry import FrameGeometry
from sim.specimen import ColumnField, Specimen

#: Side of a square in which the dose is taken to be the same.
CELL_NM: Final = 0.25
_TILE: Final = 64
_DOSE, _LOSSES, _CARBON = range(3)

Key = tuple[int, int]
Tiles = dict[Key, NDArray[np.float32]]


@dataclass(frozen=True)
class Exposure:
    """One frame, or its first rows, as the specimen felt it.

    Attributes
    ----------
    frame_number
        Losses are seen in frames of a larger number.
    geometry
        Where its pixels lay.
    rows
        How many of them were scanned.
    dose_e_per_angstrom2
        Electrons per area.
    losses
        Expected for every chalcogen atom: cross-section times dose.
    carbon
        Grown, in units of the host's brighter column.
    """

    frame_number: int
    geometry: FrameGeometry
    rows: int
    dose_e_per_angstrom2: float
    losses: float = 0.0
    carbon: float = 0.0


@dataclass(frozen=True)
class _Lost:
    """Sites that have lost atoms, one row a site and loss: cell as one number, atoms lost so far, frame of the loss."""

    cell: NDArray[np.int64]
    atoms: NDArray[np.int8]
    frame: NDArray[np.int64]

    def atoms_at(self, cells: NDArray[np.int64], before_frame: int | None) -> NDArray[np.int8]:
        """(n,) atoms that these cells had lost before a frame, or by now."""
        seen = np.ones(len(self.cell), bool) if before_frame is None else self.frame < before_frame
        # In order of time, so that the last loss of a cell is the one that stands.
        cell, atoms = self.cell[seen][::-1], self.atoms[seen][::-1]
        known, first = np.unique(cell, return_index=True)
        lost = np.zeros(len(cells), np.int8)
        if len(known):
            place = np.minimum(np.searchsorted(known, cells), len(known) - 1)
            there = known[place] == cells
            lost[there] = atoms[first[place[there]]]
        return lost


_NOTHING_LOST: Final = _Lost(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.int64))


class BeamHistory:
    """What the beam has done to a specimen so far; a new one is that of a fresh specimen."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen
        self._tiles: Tiles = {}
        self._lost = _NOTHING_LOST
        self._lock = threading.Lock()
        self._next: tuple[Exposure, BeamHistory] | None = None

    @property
    def lost_atoms(self) -> int:
        """Chalcogen atoms that the beam has removed."""
        cells = np.unique(self._lost.cell)
        return int(self._lost.atoms_at(cells, None).sum())

    def exposed(self, exposure: Exposure) -> BeamHistory:
        """The history after one more exposure; the same exposure again gives the same object."""
        with self._lock:
            if self._next is None or self._next[0] != exposure:
                self._next = exposure, self._after(exposure)
            return self._next[1]

    def present(self, sites: ColumnField, frame_number: int | None = None) -> ColumnField:
        """What is left of sites of the fresh specimen when a frame began, or now."""
        if not len(self._lost.cell):
            return sites
        lost = self._lost.atoms_at(_packed(sites.lattice_index), frame_number)
        lost[sites.sublattice == 0] = 0
        return replace(sites, column_index=self.specimen.without_atoms(sites.column_index, lost))

    def dose_e_per_angstrom2(self, positions_nm: NDArray[np.float64]) -> NDArray[np.float32]:
        """(n,) dose that places (n, 2; y, x; nm) have got."""
        return self._read(_DOSE, positions_nm)

    def carbon(self, geometry: FrameGeometry) -> NDArray[np.float32] | None:
        """Carbon in every pixel of a frame, in units of the host's brighter column; None where there is none."""
        low, high = _cells(geometry, 8)
        grown = self._patch(low, high)[_CARBON]
        if not grown.any():
            return None
        # Carbon creeps: its edge is not as sharp as that of the scan.
        smooth = gaussian_filter(grown, 2.0)
        height, width = geometry.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        places = geometry.to_specimen_nm(np.stack([y.ravel(), x.ravel()], axis=1)) / CELL_NM - 0.5 - low
        seen: NDArray[np.float32] = map_coordinates(smooth, places.T, order=1, mode="nearest")
        return seen.reshape(geometry.shape).astype(np.float32)

    def _after(self, exposure: Exposure) -> BeamHistory:
        low, high = _cells(exposure.geometry, 1)
        patch = self._patch(low, high)
        i, j = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
        centres = (np.stack([i.ravel(), j.ravel()], axis=1) + 0.5) * CELL_NM
        px = exposure.geometry.to_px(centres)
        last = np.array([exposure.rows, exposure.geometry.shape[1]]) - 0.5
        # A place that the drift brings to another row is met once more or less; that is left out.
        hit = np.all((px >= -0.5) & (px < last), axis=1).reshape(i.shape)
        for plane, amount in ((_DOSE, exposure.dose_e_per_angstrom2), (_LOSSES, exposure.losses), (_CARBON, exposure.carbon)):  # fmt: skip
            patch[plane][hit] += np.float32(amount)
        after = BeamHistory(self.specimen)
        after._tiles = self._with(patch, low, high)
        after._lost = self._lost
        if exposure.losses > 0:
            after._lost = self._losses(after, exposure)
        return after

    def _losses(self, after: BeamHistory, exposure: Exposure) -> _Lost:
        """Losses so far, and those that this exposure brings."""
        sites = self.specimen.columns_in(*exposure.geometry.bounds_nm(0.0))
        sites = sites.chosen(sites.sublattice == 1)
        expected = after._read(_LOSSES, sites.positions_nm)
        atoms = self.specimen.atoms_lost(sites, expected)
        cells = _packed(sites.lattice_index)
        new = atoms > self._lost.atoms_at(cells, None)
        return _Lost(
            np.concatenate([self._lost.cell, cells[new]]),
            np.concatenate([self._lost.atoms, atoms[new]]),
            np.concatenate([self._lost.frame, np.full(int(new.sum()), exposure.frame_number, np.int64)]),
        )

    def _read(self, plane: int, positions_nm: NDArray[np.float64]) -> NDArray[np.float32]:
        values = np.zeros(len(positions_nm), np.float32)
        cell = np.floor(positions_nm / CELL_NM).astype(np.int64)
        tile = cell // _TILE
        for key in np.unique(tile, axis=0) if len(tile) else ():
            known = self._tiles.get((int(key[0]), int(key[1])))
            if known is not None:
                of = np.flatnonzero(np.all(tile == key, axis=1))
                within = cell[of] - key * _TILE
                values[of] = known[plane, within[:, 0], within[:, 1]]
        return values

    def _patch(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.float32]:
        """(3, rows, columns) copy of the cells of a rectangle."""
        patch = np.zeros((3, *(high - low)), np.float32)
        for key, inside, there in _overlaps(low, high):
            known = self._tiles.get(key)
            if known is not None:
                patch[(slice(None), *there)] = known[(slice(None), *inside)]
        return patch

    def _with(self, patch: NDArray[np.float32], low: NDArray[np.int64], high: NDArray[np.int64]) -> Tiles:
        tiles = dict(self._tiles)
        for key, inside, there in _overlaps(low, high):
            old = tiles.get(key)
            new = np.zeros((3, _TILE, _TILE), np.float32) if old is None else old.copy()
            new[(slice(None), *inside)] = patch[(slice(None), *there)]
            tiles[key] = new
        return tiles


def _cells(geometry: FrameGeometry, margin: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First cell and end (y, x) of a rectangle of cells that holds a frame."""
    y0, x0, y1, x1 = geometry.bounds_nm(0.0)
    low = np.floor(np.array([y0, x0]) / CELL_NM).astype(np.int64) - margin
    return low, np.ceil(np.array([y1, x1]) / CELL_NM).astype(np.int64) + margin


def _overlaps(
    low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[Key, tuple[slice, slice], tuple[slice, slice]]]:
    """Tiles that a rectangle of cells meets: which, where in the tile, and where in the rectangle."""
    for i in range(int(low[0]) // _TILE, (int(high[0]) - 1) // _TILE + 1):
        for j in range(int(low[1]) // _TILE, (int(high[1]) - 1) // _TILE + 1):
            corner = np.array([i, j]) * _TILE
            first, end = np.maximum(low, corner), np.minimum(high, corner + _TILE)
            inside = tuple(slice(int(a), int(b)) for a, b in zip(first - corner, end - corner, strict=True))
            there = tuple(slice(int(a), int(b)) for a, b in zip(first - low, end - low, strict=True))
            yield (i, j), (inside[0], inside[1]), (there[0], there[1])


def _packed(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) one number for each cell, larger than any specimen is wide."""
    packed: NDArray[np.int64] = cells[:, 0] * 2**32 + cells[:, 1]
    return packed
