"""From posteriors to what is said of each site: pass, flag, or abstain with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate
from stemctx_core.judging.withheld import Withheld
from stemctx_core.look import formats
from stemctx_core.results import DECISIONS, EDGE, Decision

NO_LATTICE_HERE: Final = "no lattice here: a hole, contamination or another grain"
UNKNOWN: Final = "unknown: like none of the candidates"
TWIN: Final = "another grain: a mirror twin, whose sublattices are the other way round, or its boundary"
#: Why a site is not judged; the first means that it is.
OBSTACLES: Final = ("", EDGE, NO_LATTICE_HERE, UNKNOWN, TWIN)
_OR: Final = " or "
_NOT_TOLD_APART: Final = " cannot be told apart at this dose"


@dataclass(frozen=True)
class Thresholds:
    """When a site is flagged.

    Attributes
    ----------
    defect
        Probability that the site is not the host's own column: a flag.
    host
        Probability of the host's own column above which a site passes; between the two it is an abstention.
    species
        A flag whose most probable species has less than this names the set that cannot be told apart.
    set_coverage
        Probability that such a set holds the true species, guaranteed where the model's card has fitted sets.
    """

    defect: float = 0.9
    host: float = 0.5
    species: float = 0.9
    set_coverage: float = 0.95


@dataclass(frozen=True)
class Verdicts:
    """Decision and reason of each site.

    Attributes
    ----------
    decision
        (n,) int8 index into `stemctx_core.results.DECISIONS`.
    reason
        (n,) int16 index into `reasons`.
    reasons
        Texts; the first is empty.
    """

    decision: NDArray[np.int8]
    reason: NDArray[np.int16]
    reasons: tuple[str, ...]


def decide(
    posterior: NDArray[np.float32],
    candidates: Sequence[Candidate],
    obstacle: NDArray[np.int8],
    thresholds: Thresholds,
    dose_e_per_angstrom2: NDArray[np.floating[Any]],
    sets: NDArray[np.bool_],
    withheld: Withheld = (),
) -> Verdicts:
    """Judge every site.

    A site is flagged where it surely is no host column, even if two kinds of defect cannot be told apart there; the
    reason then names them. It is an abstention where host and defect cannot be told apart, and where an obstacle
    stands against judging it.

    Parameters
    ----------
    posterior
        (n, C).
    obstacle
        (n,) index into `OBSTACLES`.
    dose_e_per_angstrom2
        (n,) named in the reason.
    sets
        (n, C) whether a candidate is in the site's prediction set, see `stemctx_core.judging.conformal`.
    withheld
        Species that are not called in this frame, with the reason: an abstention where one is the most probable.
    """
    is_host = np.array([not c.is_defect for c in candidates])
    host = posterior[:, is_host].sum(axis=1)
    judged = obstacle == 0
    decision = np.full(len(posterior), DECISIONS.index(Decision.ABSTAIN), np.int8)
    decision[judged & (host >= thresholds.host)] = DECISIONS.index(Decision.PASS)
    decision[judged & (1 - host >= thresholds.defect)] = DECISIONS.index(Decision.FLAG)
    reasons_of = dict(withheld)
    defects = np.flatnonzero(judged & (host < thresholds.host))
    forbidden = [k for k, c in enumerate(candidates) if c.species in reasons_of]
    withheld_here = np.isin(posterior[defects].argmax(axis=1), forbidden)
    not_called = defects[withheld_here]
    decision[not_called] = DECISIONS.index(Decision.ABSTAIN)
    called = defects[~withheld_here]
    unsure = called[posterior[called].max(axis=1) < thresholds.species]

    numbers = {"": 0}
    reason = np.zeros(len(posterior), np.int16)
    # Numbered as they come; the many sites of one obstacle are gone through at once.
    codes, first = np.unique(obstacle, return_index=True)
    for site in np.union1d(unsure, first[codes != 0]):
        if obstacle[site]:
            text = OBSTACLES[obstacle[site]]
            reason[obstacle == obstacle[site]] = numbers.setdefault(text, len(numbers))
        else:
            dose = formats.dose(float(dose_e_per_angstrom2[site]))
            named = _named(posterior[site], candidates, sets[site])
            text = f"{named}{_NOT_TOLD_APART} ({dose})"
            reason[site] = numbers.setdefault(text, len(numbers))
    for site in not_called:
        text = reasons_of[candidates[int(posterior[site].argmax())].species]
        reason[site] = numbers.setdefault(text, len(numbers))
    reasons = tuple(numbers)
    return Verdicts(decision, reason, reasons)


def not_told_apart(reason: str) -> tuple[str, ...]:
    """Species that a site's reason names as a set, the most probable first; empty where it names none."""
    named, found, _ = reason.partition(_NOT_TOLD_APART)
    return tuple(named.split(_OR)) if found else ()


def _named(probabilities: NDArray[np.float32], candidates: Sequence[Candidate], held: NDArray[np.bool_]) -> str:
    """Species of a set, the most probable first, and never one alone."""
    order = np.argsort(-probabilities)
    count = max(2, int(np.count_nonzero(held)))
    return _OR.join(candidates[int(i)].species for i in order[:count])
