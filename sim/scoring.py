"""Flags against the truth.

A flag and a site belong together where they are within 0.8 Å, less than half the distance of neighbouring columns.
Strictly, a flag is right where its species stands at the site; as a detection, where any defect stands there. A true
defect that was passed, or of which the classifier abstained, is missed. What lies nearer to the border of the frame
than half a patch (4 Å) is not counted either way, since its neighbourhood was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sim.generator import GroundTruth
from stemctx_core.results import Decision, FrameResult

MATCH_ANGSTROM: Final = 0.8
BORDER_ANGSTROM: Final = 4.0


@dataclass(frozen=True)
class Score:
    """Counts of one frame or, added up, of several.

    Attributes
    ----------
    right
        Flags that are right.
    wrong
        Flags that are not.
    missed
        True defects without a right flag.
    """

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float | None:
        """Share of the flags that are right; None without flags."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of the true defects that were flagged rightly; None without defects."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


@dataclass(frozen=True)
class FrameScore:
    """Both ways to score a frame, and how many true defects the classifier abstained of (missed in both)."""

    strict: Score = Score()
    detection: Score = Score()
    abstained: int = 0

    def __add__(self, other: FrameScore) -> FrameScore:
        return FrameScore(
            self.strict + other.strict, self.detection + other.detection, self.abstained + other.abstained
        )


def score(result: FrameResult, truth: GroundTruth) -> FrameScore:
    """Compare the flags of a frame with what stands at its sites."""
    counted = _inside(truth.positions_px, truth)
    is_defect, species = truth.is_defect, truth.species
    abstentions = result.where(Decision.ABSTAIN)
    flags, site, flag_counts = flags_at_sites(result, truth)
    at_site = site >= 0
    found, recognised = np.zeros(len(truth), bool), np.zeros(len(truth), bool)
    strict_right = detection_right = 0
    for flag in np.flatnonzero(flag_counts & at_site):
        s = site[flag]
        if not is_defect[s]:
            continue
        if not found[s]:
            found[s] = True
            detection_right += 1
        if not recognised[s] and result.species(int(flags[flag])) == species[s]:
            recognised[s] = True
            strict_right += 1
    defects, flag_total = int((counted & is_defect).sum()), int(flag_counts.sum())
    unsure = _nearest_site(_positions(result, abstentions), truth)
    unsure = np.unique(unsure[unsure >= 0])
    return FrameScore(
        Score(strict_right, flag_total - strict_right, defects - strict_right),
        Score(detection_right, flag_total - detection_right, defects - detection_right),
        int((counted & is_defect)[unsure].sum()),
    )


def flags_at_sites(
    result: FrameResult, truth: GroundTruth
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """(n,) flagged rows of a result, the true site of each or -1, and whether it is counted."""
    flags = result.where(Decision.FLAG)
    flagged_px = _positions(result, flags)
    site = _nearest_site(flagged_px, truth)
    # A flag at a site counts where the site does, so that both sides of a match are counted or neither is.
    counts, at_site = _inside(flagged_px, truth), site >= 0
    counts[at_site] = _inside(truth.positions_px, truth)[site[at_site]]
    return flags, site, counts


def _positions(result: FrameResult, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.stack([result.sites.y_px[rows], result.sites.x_px[rows]], axis=1).astype(np.float64)


def _inside(positions_px: NDArray[np.float64], truth: GroundTruth) -> NDArray[np.bool_]:
    """(n,) whether a position lies half a patch or more inside the frame."""
    border = BORDER_ANGSTROM / truth.pixel_size_angstrom
    last = np.array(truth.shape) - 1
    inside: NDArray[np.bool_] = np.all((positions_px >= border) & (positions_px <= last - border), axis=1)
    return inside


def _nearest_site(positions_px: NDArray[np.float64], truth: GroundTruth) -> NDArray[np.intp]:
    """(n,) index of the site within reach of each position, -1 where there is none."""
    if not len(truth) or not len(positions_px):
        return np.full(len(positions_px), -1, np.intp)
    tree = cKDTree(truth.positions_px)
    distance, index = tree.query(positions_px)
    nearest: NDArray[np.intp] = np.where(distance * truth.pixel_size_angstrom <= MATCH_ANGSTROM, index, -1)
    return nearest
