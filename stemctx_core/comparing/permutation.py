"""Tests by permutation of blocks: sites and pixels of one place are correlated, so whole places change sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Side of a block (Å): patches reach 4 Å and noise correlates over 3 Å, so blocks hardly know of each other.
BLOCK_ANGSTROM: Final = 16.0
PERMUTATIONS: Final = 400

Statistic = Callable[[NDArray[np.bool_]], float]
"""Distance between the blocks that are marked and the others."""


@dataclass(frozen=True)
class Distance:
    """A distance between two frames, and what chance makes of it.

    Attributes
    ----------
    value
        Distance.
    by_chance
        Mean of it when blocks are dealt out at random.
    p
        Share of the random deals that are as far apart, of all deals with this one; small where the frames differ.
    """

    value: float
    by_chance: float
    p: float

    @property
    def beyond_chance(self) -> float:
        """Distance less what chance gives, not below 0."""
        return max(self.value - self.by_chance, 0.0)


def block_index(positions_angstrom: NDArray[np.float64]) -> NDArray[np.intp]:
    """(n,) number of the block that each of (n, 2) places lies in, without gaps."""
    cells = np.floor(positions_angstrom / BLOCK_ANGSTROM).astype(np.intp)
    cells -= cells.min(axis=0)
    number = cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1]
    used = np.bincount(number) > 0
    index: NDArray[np.intp] = (np.cumsum(used) - 1)[number]
    return index


def permuted(statistic: Statistic, first: int, second: int, rng: np.random.Generator) -> Distance:
    """Test whether the first blocks differ from the others.

    Parameters
    ----------
    statistic
        Of a mark for each of the blocks.
    first, second
        How many blocks each frame has; those of the first come first.
    """
    marked = np.arange(first + second) < first
    value = statistic(marked)
    dealt = np.array([statistic(rng.permutation(marked)) for _ in range(PERMUTATIONS)])
    # A deal that is the same split has the same distance up to rounding.
    reached = int(np.count_nonzero(dealt >= value - 1e-9 * abs(value)))
    return Distance(float(value), float(dealt.mean()), (1 + reached) / (1 + PERMUTATIONS))
