"""On which side of its ring each label stands, so that few rings and labels are covered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Space that a label and a letter of it take, in radii of a ring; where the image is shown larger, they take less.
_HEIGHT, _MARGINS, _LETTER = 3.2, 1.5, 1.05
#: Right, left, above, below: the first one that covers nothing is taken.
_SIDES: Final = ((0, 1), (0, -1), (-1, 0), (1, 0))
_OUTSIDE: Final = 5.0
_CELL: Final = 8.0

Box = tuple[float, float, float, float]


def label_sides(
    y: NDArray[np.float64], x: NDArray[np.float64], labels: Sequence[str], width: float
) -> list[tuple[int, int]]:
    """On which side of each ring its label covers the fewest rings and labels, and stays in the image.

    Parameters
    ----------
    y, x
        (n,) centres of the rings in radii.
    labels
        What stands beside each.
    width
        Of the image in radii.
    """
    half_height = _HEIGHT / 2
    places = list(zip(y.tolist(), x.tolist(), strict=True))
    taken = _Boxes()
    for at in places:
        taken.add((*at, 1.0, 1.0))
    sides = []
    for n, ((ring_y, ring_x), label) in enumerate(zip(places, labels, strict=True)):
        half_width = (_MARGINS + _LETTER * len(label)) / 2
        best: tuple[float, tuple[int, int], Box] | None = None
        for side in _SIDES:
            at_y, at_x = ring_y + side[0] * (1.1 + half_height), ring_x + side[1] * (1.1 + half_width)
            box = at_y, at_x, half_height, half_width
            outside = at_x + half_width > width or at_x - half_width < 0
            cost = taken.covered(box, but=n) + _OUTSIDE * outside
            if best is None or cost < best[0]:
                best = cost, side, box
            if cost == 0:
                break
        assert best is not None
        sides.append(best[1])
        taken.add(best[2])
    return sides


class _Boxes:
    """Boxes by the cells that they touch, so that only near ones are compared."""

    def __init__(self) -> None:
        self._boxes: list[Box] = []
        self._cells: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, box: Box) -> None:
        for cell in _cells(box):
            self._cells[cell].append(len(self._boxes))
        self._boxes.append(box)

    def covered(self, box: Box, but: int) -> int:
        """How many boxes overlap with one."""
        y, x, half_y, half_x = box
        near = {n for cell in _cells(box) for n in self._cells.get(cell, ())}
        near.discard(but)
        others = (self._boxes[n] for n in near)
        return sum(abs(b[0] - y) < b[2] + half_y and abs(b[1] - x) < b[3] + half_x for b in others)


def _cells(box: Box) -> list[tuple[int, int]]:
    y, x, half_y, half_x = box
    rows = range(int((y - half_y) // _CELL), int((y + half_y) // _CELL) + 1)
    columns = range(int((x - half_x) // _CELL), int((x + half_x) // _CELL) + 1)
    return [(row, column) for row in rows for column in columns]
