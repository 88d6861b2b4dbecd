"""One row a lattice site: where it is, its posterior, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice

#: Reason of a site whose patch does not lie in the frame: it was not judged, which is not the same as undecided.
EDGE: Final = "edge: the patch is cut by the border of the frame"


class Decision(StrEnum):
    """What is said of a site."""

    PASS = "pass"
    FLAG = "flag"
    ABSTAIN = "abstain"


DECISIONS = tuple(Decision)
SUBLATTICES = tuple(Sublattice)


@dataclass(frozen=True)
class SiteTable:
    """One row a lattice site.

    Attributes
    ----------
    y_px, x_px
        (n,) float32 array index coordinates in the frame.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    posterior
        (n, candidates) float32, rows sum to 1.
    best
        (n,) int16 index of the most probable candidate.
    decision
        (n,) int8 index into `Decision`.
    reason
        (n,) int16 index into `FrameResult.reasons`.
    """

    y_px: NDArray[np.float32]
    x_px: NDArray[np.float32]
    sublattice: NDArray[np.int8]
    posterior: NDArray[np.float32]
    best: NDArray[np.int16]
    decision: NDArray[np.int8]
    reason: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.y_px)

    @property
    def probability(self) -> NDArray[np.float32]:
        """(n,) probability of the most probable candidate."""
        return np.take_along_axis(self.posterior, self.best[:, None].astype(np.intp), axis=1)[:, 0]

    @property
    def entropy_nats(self) -> NDArray[np.float32]:
        """(n,) posterior entropy, H = -Σ p ln p."""
        p = self.posterior
        terms = p * np.log(np.clip(p, 1e-12, None))
        return np.asarray(-terms.sum(axis=1), np.float32)

    @staticmethod
    def empty(candidates: int = 0) -> SiteTable:
        """A table without rows."""
        f, i = np.zeros(0, np.float32), np.zeros(0, np.int16)
        b = np.zeros(0, np.int8)
        return SiteTable(f, f, b, np.zeros((0, candidates), np.float32), i, b, i)
