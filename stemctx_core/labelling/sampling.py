"""Which sites of a frame are labelled: all or some of each stratum, drawn by chance with known probability.

A sample of flags alone tells nothing of what was missed, and one of all sites holds hardly a defect. So each stratum
(flagged as a species, undecided, passed, of each sublattice) is drawn from on its own: a simple random sample without
replacement, so that a site of a stratum of N has the inclusion probability n/N, by whose inverse figures of agreement
are weighted (D. G. Horvitz, D. J. Thompson, J. Am. Stat. Assoc. 47, 663, 1952).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError
from stemctx_core.judging.decision import NO_LATTICE_HERE
from stemctx_core.results import DECISIONS, EDGE, SUBLATTICES, Decision, FrameResult


class Amounts(msgspec.Struct, frozen=True):
    """How many sites of a frame are drawn at most.

    Attributes
    ----------
    flagged
        Of each species that was flagged.
    undecided, passed
        Of each sublattice.
    """

    flagged: int = 30
    undecided: int = 20
    passed: int = 30

    def validated(self) -> Amounts:
        """Itself, after it was found usable; raise `InputError` where it is not."""
        if min(self.flagged, self.undecided, self.passed) < 0 or not any(msgspec.structs.astuple(self)):
            raise InputError("No sites would be drawn, or less than none. Give numbers of 0 and more.")
        return self


class Drawn(msgspec.Struct, frozen=True):
    """One site of a sample.

    Attributes
    ----------
    site
        Index in the result.
    inclusion
        Probability with which a site of its stratum was drawn.
    """

    site: int
    stratum: str
    inclusion: float


def draw(result: FrameResult, amounts: Amounts, rng: np.random.Generator) -> list[Drawn]:
    """Draw sites of a frame, in an order that tells nothing of their strata.

    Sites that the border cuts, and those with no lattice around them, have no patch and are in no stratum.
    """
    drawn: list[Drawn] = []
    for stratum, members, most in _strata(result, amounts):
        count = min(most, len(members))
        for site in rng.choice(members, count, replace=False):
            drawn.append(Drawn(int(site), stratum, count / len(members)))
    return [drawn[i] for i in rng.permutation(len(drawn))]


def _strata(result: FrameResult, amounts: Amounts) -> list[tuple[str, NDArray[np.intp], int]]:
    sites = result.sites
    unseen = [result.reasons.index(reason) for reason in (EDGE, NO_LATTICE_HERE) if reason in result.reasons]
    seen = ~np.isin(sites.reason, unseen)
    strata = []
    for decision, most in zip(
        (Decision.ABSTAIN, Decision.PASS), (amounts.undecided, amounts.passed), strict=True
    ):
        here = seen & (sites.decision == DECISIONS.index(decision))
        for code, sublattice in enumerate(SUBLATTICES):
            name = f"{decision.value} {sublattice.value}"
            strata.append((name, np.flatnonzero(here & (sites.sublattice == code)), most))
    flagged = seen & (sites.decision == DECISIONS.index(Decision.FLAG))
    for code in np.unique(sites.best[flagged]):
        name = f"{Decision.FLAG.value} {result.candidates[int(code)].species}"
        strata.append((name, np.flatnonzero(flagged & (sites.best == code)), amounts.flagged))
    return [stratum for stratum in strata if len(stratum[1])]
