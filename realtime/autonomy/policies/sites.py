"""What policies keep of sites: evidence that adds up over views, and counts with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from realtime.autonomy.microscope import Pair
from realtime.autonomy.views import SessionTarget, View
from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate, Role
from stemctx_core.judging.decision import NO_LATTICE_HERE, UNKNOWN
from stemctx_core.results import EDGE, FrameResult

#: Two views show the same site within this distance: a little less than half of the shortest distance of two sites
#: of one sublattice.
SAME_SITE_NM = 0.15
_LEAST = 1e-12
_NOT_JUDGED = (EDGE, NO_LATTICE_HERE, UNKNOWN)


class Finding(msgspec.Struct, frozen=True):
    """A site that was decided.

    Attributes
    ----------
    y_nm, x_nm
        Scan coordinates when it was last seen.
    y_px, x_px, view
        The same place in the view that it was last seen in.
    probability
        Of the species, by every view of it.
    seen_ns
        `time.monotonic_ns`.
    looks
        How many views it was judged in.
    """

    y_nm: float
    x_nm: float
    y_px: float
    x_px: float
    view: str
    species: str
    probability: float
    seen_ns: int
    looks: int = 1


class Fraction(msgspec.Struct, frozen=True):
    """How many of the sites that were judged hold something.

    Attributes
    ----------
    count, of
        Sites that hold it, and sites of its sublattice.
    low, high
        Wilson score interval of the fraction.
    per_cm2
        Density of them on the specimen.
    """

    count: int
    of: int
    low: float
    high: float
    per_cm2: float

    @property
    def value(self) -> float:
        """The fraction; not a number where nothing was judged."""
        return self.count / self.of if self.of else math.nan


def fraction(count: int, of: int, sites_per_nm2: float, confidence: float = 0.95) -> Fraction:
    """Share of sites with its Wilson score interval.

    Parameters
    ----------
    sites_per_nm2
        Of the sublattice in the perfect crystal: one a unit cell.
    """
    if not of:
        return Fraction(0, 0, 0.0, 1.0, math.nan)
    z = float(-ndtri((1 - confidence) / 2))
    share = count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Fraction(count, of, low, high, share * sites_per_nm2 * 1e14)


def finding(target: SessionTarget, view: View, posterior: Mapping[str, float], looks: int = 1) -> Finding:
    """What is said of a target in the end."""
    species = max(posterior, key=lambda name: posterior[name])
    sites = view.result.sites
    row = target.site
    return Finding(
        target.y_nm,
        target.x_nm,
        float(sites.y_px[row]),
        float(sites.x_px[row]),
        view.key,
        species,
        posterior[species],
        target.seen_ns,
        looks,
    )


def judged_sites(result: FrameResult) -> NDArray[np.bool_]:
    """(n,) which sites were judged: they lie inside, on the crystal, and are like one of the candidates."""
    passed_over = [k for k, reason in enumerate(result.reasons) if reason in _NOT_JUDGED]
    judged: NDArray[np.bool_] = ~np.isin(result.sites.reason, passed_over)
    return judged


def judged(result: FrameResult, site: int) -> bool:
    """Whether one site was judged, as `judged_sites` says it of all."""
    return result.reasons[int(result.sites.reason[site])] not in _NOT_JUDGED


def together(
    before: Mapping[str, float],
    now: Mapping[str, float],
    candidates: Iterable[Candidate],
    prevalence: dict[Role, float] | None = None,
) -> dict[str, float]:
    """Posterior after two views of one site; both hold the prior, which must count once.

    Parameters
    ----------
    before, now
        Species to probability.
    prevalence
        Prior that the judge used, the benchmark's real prevalence by default.
    """
    listed = tuple(candidates)
    logits = {}
    for candidate, prior in zip(listed, classes.priors(listed, prevalence), strict=True):
        name = candidate.species
        evidence = [max(p.get(name, 0.0), _LEAST) for p in (before, now)]
        # Rounded away is not ruled out; a species of the other sublattice is.
        ruled_out = max(evidence) <= _LEAST
        logits[name] = -math.inf if ruled_out or prior <= 0 else sum(map(math.log, evidence)) - math.log(prior)
    highest = max(logits.values())
    weight = {name: math.exp(value - highest) for name, value in logits.items()}
    total = sum(weight.values())
    return {name: value / total for name, value in weight.items()}


def probability_of(posterior: Mapping[str, float], species: Collection[str]) -> float:
    """Probability that one of some species stands there."""
    return sum(p for name, p in posterior.items() if name in species)


def distance_nm(a: Pair, b: Pair) -> float:
    """Between two points."""
    return math.hypot(a[0] - b[0], a[1] - b[1])
