"""Two results of one frame, site by site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry.classes import Candidate
from stemctx_core.results import FrameResult

#: Two sites of one sublattice are the same one when they are as close as this (px).
SAME_SITE_PX: Final = 1.0

Spread = NDArray[np.float64]


class Comparison(msgspec.Struct, frozen=True):
    """How two results of one frame differ.

    Attributes
    ----------
    sites, sites_again
        Of the first and of the second result.
    matched
        Sites that are in both.
    decisions_changed
        Matched sites whose decision, or most probable candidate, is another.
    largest_posterior_difference
        Over matched sites and candidates; 0 where none is matched.
    same_refusal
        Whether both were judged, or both refused with the same code.
    same_model
        Whether the same model judged.
    """

    sites: int
    sites_again: int
    matched: int
    decisions_changed: int
    largest_posterior_difference: float
    same_refusal: bool
    same_model: bool

    def agrees(self, tolerance: float) -> bool:
        """Whether nothing differs but posteriors by no more than the tolerance, whichever model judged."""
        return (
            self.same_refusal
            and self.sites == self.sites_again == self.matched
            and not self.decisions_changed
            and self.largest_posterior_difference <= tolerance
        )


def compare(one: FrameResult, other: FrameResult, same_model: bool) -> Comparison:
    """Compare two results of one frame; candidates that only one of them knows count as probability 0 in the other."""
    first, second = matches(one, other)
    a, b = one.sites, other.sites
    listed = list(dict.fromkeys((*one.candidates, *other.candidates)))
    difference = np.abs(_spread(one, first, listed) - _spread(other, second, listed))
    best_one = np.array([listed.index(c) for c in one.candidates], np.intp)[a.best[first]]
    best_other = np.array([listed.index(c) for c in other.candidates], np.intp)[b.best[second]]
    changed = (a.decision[first] != b.decision[second]) | (best_one != best_other)
    codes = [None if r.refusal is None else r.refusal.code for r in (one, other)]
    return Comparison(
        sites=len(a),
        sites_again=len(b),
        matched=len(first),
        decisions_changed=int(np.count_nonzero(changed)),
        largest_posterior_difference=float(difference.max(initial=0.0)),
        same_refusal=codes[0] == codes[1],
        same_model=same_model,
    )


def matches(one: FrameResult, other: FrameResult) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the sites that are each other's nearest of their sublattice, in one result and in the other."""
    firsts, seconds = [], []
    for sublattice in (0, 1):
        mine = np.flatnonzero(one.sites.sublattice == sublattice)
        theirs = np.flatnonzero(other.sites.sublattice == sublattice)
        if not (len(mine) and len(theirs)):
            continue
        here, there = _positions(one)[mine], _positions(other)[theirs]
        distance, forth = cKDTree(there).query(here)
        _, back = cKDTree(here).query(there)
        both = (distance <= SAME_SITE_PX) & (back[forth] == np.arange(len(mine)))
        firsts.append(mine[both])
        seconds.append(theirs[forth[both]])
    empty = np.zeros(0, np.intp)
    return np.concatenate([empty, *firsts]), np.concatenate([empty, *seconds])


def _positions(result: FrameResult) -> NDArray[np.float64]:
    return np.stack([result.sites.y_px, result.sites.x_px], axis=1).astype(np.float64)


def _spread(result: FrameResult, rows: NDArray[np.intp], listed: Sequence[Candidate]) -> Spread:
    """(rows, listed) posterior, in the order of a list that holds every candidate of the result."""
    spread: Spread = np.zeros((len(rows), len(listed)))
    for column, candidate in enumerate(result.candidates):
        spread[:, listed.index(candidate)] = result.sites.posterior[rows, column]
    return spread
