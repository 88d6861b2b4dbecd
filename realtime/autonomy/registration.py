"""How far the specimen moved between two frames that were judged.

A lattice looks the same a lattice vector on, so that its phase gives the shift only up to lattice vectors. What tells
the vectors apart is which columns stand where: two posteriors of one site agree, those of two sites agree by chance.
For posteriors p, q and a prior π the odds of one site against two are Σ p q / π; their product over all sites that
overlap, times how likely the drift makes the shift, gives every shift a probability. Without defects in the common
field only the drift speaks, and where it does not suffice the answer is that the shift is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtime.autonomy.microscope import Pair

Points = NDArray[np.float64]

#: A shift that is less probable is not acted on.
SURE: Final = 0.99
#: Prior probability that the drift is not what was expected, not even roughly.
_ASTRAY: Final = 1e-3
#: Part of the sites that may have changed, or been judged wrongly, between the frames.
_CHANGED: Final = 0.02
#: Odds of a single site, so that no single one decides against the others.
_MOST_ODDS: Final = 100.0
#: Below this the sites themselves speak against the shift, however well the drift would explain it.
_LEAST_LOG_ODDS: Final = -2.0
_MATCH_NM: Final = 0.08
_FEWEST_SITES: Final = 12
_FARTHEST_NM: Final = 2.5
_MOST_SITES: Final = 1500
_FINALISTS: Final = 20


class Registration(msgspec.Struct, frozen=True):
    """How far the specimen moved between two frames.

    Attributes
    ----------
    shift_nm
        y, x in scan coordinates: what lay at p lies at p + shift.
    probability
        That it is this shift and not another by lattice vectors more or less, or beyond the range looked at.
    sites
        Number of sites that both frames show.
    error_nm
        Standard error of the shift, if it is this one.
    reason
        Why it is not sure, or empty.
    """

    shift_nm: Pair
    probability: float
    sites: int
    error_nm: float
    reason: str = ""

    @property
    def sure(self) -> bool:
        """Whether it may be acted on."""
        return not self.reason


@dataclass(frozen=True)
class SeenSites:
    """The sites of a judged frame.

    Attributes
    ----------
    positions_nm
        (n, 2) y, x in scan coordinates, all at one time.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    posterior, prior
        (n, C); of a site that was not judged both are the same.
    """

    positions_nm: Points
    sublattice: NDArray[np.int8]
    posterior: NDArray[np.float64]
    prior: NDArray[np.float64]

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> SeenSites:
        """Some of them."""
        return SeenSites(
            self.positions_nm[which], self.sublattice[which], self.posterior[which], self.prior[which]
        )


def register(before: SeenSites, after: SeenSites, expected_nm: Pair, error_nm: float) -> Registration:
    """Find the shift from one frame to another.

    Parameters
    ----------
    expected_nm
        Shift by the drift known so far (y, x).
    error_nm
        Standard deviation per axis of what is expected.
    """

    def unsure(reason: str, shift: Pair = expected_nm, probability: float = 0.0, n: int = 0) -> Registration:
        return Registration(shift, probability, n, error_nm, reason)

    expected = np.array(expected_nm)
    reach = min(4 * error_nm, _FARTHEST_NM)
    before, after = _overlap(before, after, expected, reach + _MATCH_NM)
    if min(len(before.positions_nm), len(after.positions_nm)) < _FEWEST_SITES:
        return unsure(f"the two frames have fewer than {_FEWEST_SITES} sites in common")
    basis = _basis(before)
    if basis is None:
        return unsure("the lattice of the first frame cannot be made out")
    shifts = _candidates(before, after, basis, expected, reach)
    trees = _trees(before)
    # A candidate stands for a cell of the lattice, hence the density of the prior times the area of one.
    width = math.hypot(error_nm, 0.01)
    density = math.log(min(1.0, abs(float(np.linalg.det(basis))) / (2 * math.pi * width**2)))
    for _ in range(2):  # the second time from matched pairs instead of phases
        matches = [_match(before, after, s, trees) for s in shifts]
        shifts = np.array([s + m.offset_nm for s, m in zip(shifts, matches, strict=True)])
        log_prior = density - ((shifts - expected) ** 2).sum(axis=1) / (2 * width**2)
        score = log_prior + np.array([m.log_odds for m in matches])
        order = np.argsort(-score)[:_FINALISTS]
        shifts, score, matches = shifts[order], score[order], [matches[i] for i in order]
    largest = max(float(score.max()), math.log(_ASTRAY))
    weight = np.exp(score - largest)
    k = int(score.argmax())
    probability = float(weight[k] / (weight.sum() + math.exp(math.log(_ASTRAY) - largest)))
    best = matches[k]
    shift = (float(shifts[k, 0]), float(shifts[k, 1]))
    if best.sites < _FEWEST_SITES:
        return unsure(f"only {best.sites} sites of the two frames match", shift, probability, best.sites)
    if best.log_odds < _LEAST_LOG_ODDS:
        return unsure("the columns of the two frames differ", shift, probability, best.sites)
    if probability < SURE:
        return unsure(
            f"shifts that differ by lattice vectors cannot be told apart ({probability:.2f} for the best): there are too "
            "few defects in the common field for the time that has passed",
            shift,
            probability,
            best.sites,
        )
    return Registration(shift, probability, best.sites, best.error_nm)


@dataclass(frozen=True)
class _Match:
    """Sites of one frame over those of another."""

    offset_nm: Points
    error_nm: float
    sites: int
    log_odds: float


def _overlap(
    before: SeenSites, after: SeenSites, expected: Points, margin_nm: float
) -> tuple[SeenSites, SeenSites]:
    """Sites of each that may lie within the other, those in the middle of the second first."""
    if not (len(before.positions_nm) and len(after.positions_nm)):
        return before, after

    def within(points: Points, others: Points) -> NDArray[np.bool_]:
        low, high = others.min(axis=0) - margin_nm, others.max(axis=0) + margin_nm
        inside: NDArray[np.bool_] = ((points >= low) & (points <= high)).all(axis=1)
        return inside

    moved = before.positions_nm + expected
    kept, seen = (
        before.chosen(within(moved, after.positions_nm)),
        after.chosen(within(after.positions_nm, moved)),
    )
    if len(seen.positions_nm) > _MOST_SITES:
        distance = np.linalg.norm(seen.positions_nm - seen.positions_nm.mean(axis=0), axis=1)
        seen = seen.chosen(np.argsort(distance)[:_MOST_SITES])
    return kept, seen


def _basis(sites: SeenSites) -> Points | None:
    """(2, 2) lattice vectors (nm), 60 degrees apart, from the distances of neighbours on one sublattice."""
    metal = sites.positions_nm[sites.sublattice == 0]
    if len(metal) < _FEWEST_SITES // 2:
        return None
    _, neighbours = cKDTree(metal).query(metal, k=min(7, len(metal)))
    vectors = (metal[neighbours[:, 1:]] - metal[:, None]).reshape(-1, 2)
    length = np.linalg.norm(vectors, axis=1)
    a = float(np.median(np.sort(length)[: max(6, len(length) // 2)]))
    near = np.abs(length - a) < 0.15 * a
    if near.sum() < 6 or a <= 0:
        return None
    angle = np.arctan2(vectors[near, 0], vectors[near, 1])
    a = float(np.median(length[near]))
    six = np.exp(6j * angle).mean()
    if abs(six) < 0.5:
        return None
    first = float(np.angle(six)) / 6
    return a * np.array([[math.sin(t), math.cos(t)] for t in (first, first + math.pi / 3)])


def _candidates(
    before: SeenSites, after: SeenSites, basis: Points, expected: Points, reach_nm: float
) -> Points:
    """(k, 2) shifts that lay one lattice over the other, those within reach and at least the nearest seven."""
    reciprocal = 2 * np.pi * np.linalg.inv(basis)  # columns g1, g2
    origin = after.positions_nm.mean(axis=0)

    def phase(points: Points) -> Points:
        angles: Points = np.angle(np.exp(1j * (points - origin) @ reciprocal).mean(axis=0))
        return angles

    metal = before.sublattice == 0, after.sublattice == 0
    turned = (
        phase(after.positions_nm[metal[1]]) - phase(before.positions_nm[metal[0]] + expected)
        if metal[0].any() and metal[1].any()
        else np.zeros(2)
    )
    fraction = turned / (2 * np.pi)
    residual = (fraction - np.round(fraction)) @ basis
    cells = math.ceil(reach_nm / float(np.linalg.norm(basis[0]))) + 2
    n = np.arange(-cells, cells + 1)
    whole = np.stack(np.meshgrid(n, n, indexing="ij"), axis=-1).reshape(-1, 2) @ basis
    offsets = residual + whole
    distance = np.linalg.norm(offsets, axis=1)
    order = np.argsort(distance)
    kept = order[: max(7, int((distance <= reach_nm).sum()))]
    shifts: Points = expected + offsets[kept]
    return shifts


_Trees = list[tuple[NDArray[np.intp], Any]]


def _trees(sites: SeenSites) -> _Trees:
    """Rows of each sublattice, and a tree of their places."""
    rows = [np.flatnonzero(sites.sublattice == sublattice) for sublattice in (0, 1)]
    return [(r, cKDTree(sites.positions_nm[r].reshape(-1, 2))) for r in rows]


def _match(before: SeenSites, after: SeenSites, shift: Points, trees: _Trees) -> _Match:
    """Pair the sites that a shift brings together, and weigh whether they are the same."""
    pairs = []
    for sublattice, (rows, tree) in enumerate(trees):
        others = np.flatnonzero(after.sublattice == sublattice)
        if not (len(rows) and len(others)):
            continue
        distance, index = tree.query(after.positions_nm[others] - shift, distance_upper_bound=_MATCH_NM)
        hit = np.isfinite(distance)
        pairs.append(np.stack([rows[index[hit]], others[hit]], axis=1))
    paired = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.intp)
    if not len(paired):
        return _Match(np.zeros(2), math.inf, 0, -math.inf)
    first, second = before.chosen(paired[:, 0]), after.chosen(paired[:, 1])
    offset = second.positions_nm - first.positions_nm - shift
    scatter = float(np.sqrt(((offset - np.median(offset, axis=0)) ** 2).sum(axis=1).mean() / 2))
    prior = np.maximum(first.prior, 1e-9)
    p, q = ((1 - _CHANGED) * s.posterior + _CHANGED * s.prior for s in (first, second))
    odds = np.clip((p * q / prior * (first.prior > 0)).sum(axis=1), 1e-6, _MOST_ODDS)
    return _Match(
        np.median(offset, axis=0),
        scatter / math.sqrt(len(paired)),
        len(paired),
        float(np.log(odds).sum()),
    )
