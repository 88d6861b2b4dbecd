"""How much every place of the specimen got, so that overlapping fields add up."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from realtime.autonomy.microscope import Pair, ScanRequest

RASTER_NM: Final = 0.5
_BLOCK: Final = 64

Cells = NDArray[np.int64]


class DoseMap:
    """Dose on a raster of 0.5 nm; a cell got the dose of the fields that hold its middle.

    Fields side by side therefore do not overlap. A field smaller than a cell counts for the whole of it.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], NDArray[np.float64]] = {}
        self.largest = 0.0

    def largest_in(self, request: ScanRequest) -> float:
        """Largest dose in the field so far (e/Å²)."""
        return max((float(self._values(*key)[cells].max()) for key, cells in _by_block(request)), default=0.0)

    def add(self, request: ScanRequest, dose_e_per_angstrom2: float) -> None:
        """Count an exposure."""
        for key, cells in _by_block(request):
            values = self._values(*key)
            values[cells] += dose_e_per_angstrom2
            self.largest = max(self.largest, float(values[cells].max()))

    def at(self, position_nm: Pair) -> float:
        """Dose of a place (e/Å²)."""
        y, x = (math.floor(p / RASTER_NM) for p in position_nm)
        block = self._blocks.get((y // _BLOCK, x // _BLOCK))
        return 0.0 if block is None else float(block[y % _BLOCK, x % _BLOCK])

    def _values(self, y: int, x: int) -> NDArray[np.float64]:
        return self._blocks.setdefault((y, x), np.zeros((_BLOCK, _BLOCK)))


def _by_block(request: ScanRequest) -> list[tuple[tuple[int, int], tuple[Cells, Cells]]]:
    """Cells of a field: block and rows and columns within it."""
    cells = _cells(request)
    blocks, inverse = np.unique(cells // _BLOCK, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    return [((int(y), int(x)), tuple((cells[inverse == k] % _BLOCK).T)) for k, (y, x) in enumerate(blocks)]


def _cells(request: ScanRequest) -> Cells:
    centre = np.array(request.centre_nm)
    half = np.array(request.extent_nm) / 2
    reach = math.hypot(*half)
    low, high = (
        np.floor((centre - reach) / RASTER_NM).astype(int),
        np.floor((centre + reach) / RASTER_NM).astype(int),
    )
    y, x = np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij")
    cells: Cells = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.int64)
    c, s = math.cos(request.rotation_rad), math.sin(request.rotation_rad)
    offset = (cells + 0.5) * RASTER_NM - centre
    in_field = offset @ np.array([[c, s], [-s, c]])
    # Half-open, so that a cell whose middle lies on the border of two fields belongs to one of them.
    tolerance = 1e-9
    inside = ((in_field >= -half - tolerance) & (in_field < half - tolerance)).all(axis=1)
    own = np.floor(centre / RASTER_NM).astype(np.int64)[None]
    return np.unique(np.concatenate([cells[inside], own]), axis=0)
