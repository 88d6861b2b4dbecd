"""From posteriors to what is said of each site: pass, flag, or abstain with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classes import Candidate
from stemctx_core.results import DECISIONS, Decision


@dataclass(frozen=True)
class Thresholds:
    """When a site is flagged.

    Attributes
    ----------
    defect
        Probability that the site is not the host's own column.
    species
        Probability of the most probable species.
    host
        Probability of the host's own column above which a site passes without a word.
    set_coverage
        Probability that the set of species named in an abstention holds the true one.
    """

    defect: float = 0.9
    species: float = 0.8
    host: float = 0.5
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
    whole: NDArray[np.bool_],
    unlike_all: NDArray[np.bool_],
    thresholds: Thresholds,
    dose_e_per_angstrom2: float,
) -> Verdicts:
    """Judge every site.

    A site whose patch is cut by the border is not judged. A site that is probably a defect, but not surely one or
    not surely of one kind, is an abstention that names the set of species that cannot be told apart.

    Parameters
    ----------
    posterior
        (n, C).
    whole
        (n,) whether the whole patch lies in the frame.
    unlike_all
        (n,) whether no candidate explains the patch.
    dose_e_per_angstrom2
        Named in the reason.
    """
    is_host = np.array([not c.is_defect for c in candidates])
    host = posterior[:, is_host].sum(axis=1)
    best = posterior.argmax(axis=1)
    top = posterior.max(axis=1)
    flagged = (1 - host >= thresholds.defect) & ~is_host[best] & (top >= thresholds.species)
    passed = host >= thresholds.host
    decision = np.full(len(posterior), DECISIONS.index(Decision.ABSTAIN), np.int8)
    decision[passed] = DECISIONS.index(Decision.PASS)
    decision[flagged] = DECISIONS.index(Decision.FLAG)
    decision[~whole | unlike_all] = DECISIONS.index(Decision.ABSTAIN)

    reasons = [""]
    reason = np.zeros(len(posterior), np.int16)
    for site in np.flatnonzero(decision == DECISIONS.index(Decision.ABSTAIN)):
        if not whole[site]:
            text = "edge: the patch is cut by the border of the frame"
        elif unlike_all[site]:
            text = "unknown: like none of the candidates"
        else:
            names = " or ".join(_prediction_set(posterior[site], candidates, thresholds.set_coverage))
            text = f"{names}: cannot be told apart at this dose ({_rounded(dose_e_per_angstrom2)} e/Å²)"
        if text not in reasons:
            reasons.append(text)
        reason[site] = reasons.index(text)
    return Verdicts(decision, reason, tuple(reasons))


def _prediction_set(
    probabilities: NDArray[np.float32], candidates: Sequence[Candidate], coverage: float
) -> list[str]:
    """Most probable species, as many as are needed to hold the true one with this probability."""
    order = np.argsort(-probabilities)
    count = int(np.searchsorted(np.cumsum(probabilities[order]), coverage)) + 1
    return [candidates[int(i)].species for i in order[:count]]


def _rounded(dose: float) -> str:
    return f"{float(f'{dose:.2g}'):,.0f}".replace(",", " ")
