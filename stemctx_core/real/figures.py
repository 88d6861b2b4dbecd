"""How far a result agrees with labels: precision, recall, F1, average precision, kappa, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.agreement.figures import cohen_kappa
from stemctx_core.chemistry.classes import Role, Sublattice
from stemctx_core.judging.decision import OBSTACLES
from stemctx_core.metrics import average_precision, rounded
from stemctx_core.real.data import Labels
from stemctx_core.results import EDGE, FrameResult

#: A label belongs to the site that is nearer than this.
_MATCH_ANGSTROM: Final = 0.8
#: Labels nearer to the border than this are left out: half a patch.
_BORDER_PX: Final = 12.0
#: Sites near each other share their noise: intervals come from drawing squares of the frame, so many along a side.
_SQUARES: Final = 8
_DRAWS: Final = 400
_INTERVAL: Final = (2.5, 97.5)
#: Probability from which a site counts as decided.
DECIDED: Final = 0.9


@dataclass(frozen=True)
class Matched:
    """Sites that a label says something of.

    Attributes
    ----------
    role
        (n,) as labelled.
    posterior
        (n, C).
    judged
        (n,) whether the site was; not so in contamination, in holes, and where it is like nothing known.
    square
        (n,) which square of the frame it lies in.
    found
        Share of the labels, away from the border, that a site was found for.
    result
        What they are taken from.
    """

    role: NDArray[np.str_]
    posterior: NDArray[np.float64]
    judged: NDArray[np.bool_]
    square: NDArray[np.int64]
    found: float
    result: FrameResult

    def probability(self, *roles: Role) -> NDArray[np.float64]:
        """(n,) of any of some roles; 0 where the site was not judged."""
        chosen = [k for k, c in enumerate(self.result.candidates) if c.role in roles]
        total: NDArray[np.float64] = np.where(self.judged, self.posterior[:, chosen].sum(axis=1), 0.0)
        return total

    @property
    def named(self) -> NDArray[np.str_]:
        """(n,) most probable role."""
        roles = np.array([c.role.value for c in self.result.candidates])
        return np.asarray(roles[self.posterior.argmax(axis=1)])


def matched(result: FrameResult, labels: Labels, shape: tuple[int, int]) -> Matched:
    """Bring sites and labels together.

    Parameters
    ----------
    shape
        (height, width) of the frame.
    """
    assert result.calibration is not None
    sites = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    distance, nearest = cKDTree(sites).query(labels.positions_px)
    near = distance * result.calibration.pixel_size_angstrom < _MATCH_ANGSTROM
    high = np.array(shape) - _BORDER_PX
    inside = ((labels.positions_px > _BORDER_PX) & (labels.positions_px < high)).all(axis=1)
    reasons = np.array(result.reasons)[result.sites.reason]
    kept = np.flatnonzero(near & inside)
    kept = kept[reasons[nearest[kept]] != EDGE]
    site = nearest[kept]
    cell = (labels.positions_px[kept] / (np.array(shape) / _SQUARES)).astype(np.int64)
    return Matched(
        role=labels.roles[kept],
        posterior=result.sites.posterior[site].astype(np.float64),
        judged=~_obstructed(result)[site],
        square=cell[:, 0] * _SQUARES + cell[:, 1],
        found=float(near[inside].mean()),
        result=result,
    )


def _obstructed(result: FrameResult) -> NDArray[np.bool_]:
    """(n,) sites that were not judged, rather than judged without a decision."""
    stands = np.array([reason in OBSTACLES[1:] for reason in result.reasons])
    obstructed: NDArray[np.bool_] = stands[result.sites.reason]
    return obstructed


def detection(
    told: NDArray[np.bool_], true: NDArray[np.bool_], square: NDArray[np.int64], score: NDArray[np.float64]
) -> dict[str, Any]:
    """Precision, recall, F1 and average precision with bootstrap intervals over squares of the frame."""
    values = _detection(told, true, score, np.ones(len(told)))
    rng = np.random.default_rng(8)
    present = np.unique(square)
    draws = []
    for _ in range(_DRAWS):
        weight = np.bincount(rng.choice(present, len(present)), minlength=int(present.max()) + 1)
        draws.append(_detection(told, true, score, weight[square].astype(float)))
    names = ("precision", "recall", "f1", "average_precision")
    kept = [column[np.isfinite(column)] for column in np.array(draws).T]
    low, high = (
        [float(np.percentile(column, at)) if len(column) else np.nan for column in kept] for at in _INTERVAL
    )
    return {
        name: {"value": rounded(v, 4), "low": rounded(lo, 4), "high": rounded(hi, 4)}
        for name, v, lo, hi in zip(names, values, low, high, strict=True)
    } | {"told": int(told.sum()), "labelled": int(true.sum())}


def agreement(m: Matched) -> dict[str, Any]:
    """Confusion matrix and Cohen's kappa of the roles at the sites that were judged."""
    present = set(m.role) | {c.role.value for c in m.result.candidates}
    roles = [role.value for role in Role if role.value in present]
    place = {role: k for k, role in enumerate(roles)}
    told = np.array([place[r] for r in m.named[m.judged]])
    true = np.array([place[r] for r in m.role[m.judged]])
    matrix = np.zeros((len(roles), len(roles)))
    np.add.at(matrix, (true, told), 1.0)
    by_role = {}
    for role, k in place.items():
        both = matrix[k, k]
        pair = np.array([[both, matrix[k].sum() - both], [matrix[:, k].sum() - both, 0.0]])
        pair[1, 1] = matrix.sum() - pair.sum()
        by_role[role] = rounded(float(cohen_kappa(pair)), 4)
    return {
        "roles": roles,
        "confusion_labelled_by_told": matrix.astype(int).tolist(),
        "kappa": rounded(float(cohen_kappa(matrix)), 4),
        "kappa_by_role": by_role,
    }


def figures(m: Matched) -> dict[str, Any]:
    """Everything that is said of one result beside the labels."""
    vacancy, oxygen = Role.CHALCOGEN_VACANCY, Role.OXYGEN
    true = m.role == vacancy.value
    strict = m.judged & (m.named == vacancy.value)
    either = m.probability(vacancy, oxygen)
    surest = m.posterior.max(axis=1)
    decided = m.judged & (surest >= DECIDED)
    flagged_dopants = m.judged & (m.named == Role.DOPANT.value)
    judged, p = m.judged, m.probability(vacancy)
    metal = [c.sublattice is Sublattice.METAL for c in m.result.candidates]
    return {
        "sites": len(m.role),
        "found": rounded(m.found, 5),
        "judged": rounded(float(judged.mean()), 4),
        "vacancies_not_judged": int((true & ~judged).sum()),
        "vac_Se": detection(strict[judged], true[judged], m.square[judged], p[judged]),
        "vac_Se_all_sites": detection(strict, true, m.square, p),
        "vac_Se_or_O_Se": detection(either[judged] > 0.5, true[judged], m.square[judged], either[judged]),
        "decided": rounded(float(decided.sum() / judged.sum()), 4),
        "decided_of_all": rounded(float(decided.mean()), 4),
        "vac_Se_decided": detection(strict[decided], true[decided], m.square[decided], p[decided]),
        "dopants_told": int(flagged_dopants.sum()),
        "metal_sites": int((m.posterior[:, metal].sum(axis=1) > 0.5).sum()),
        **agreement(m),
    }


def _detection(
    told: NDArray[np.bool_], true: NDArray[np.bool_], score: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    both = float(weight[told & true].sum())
    named, labelled = float(weight[told].sum()), float(weight[true].sum())
    if labelled == 0:
        return (np.nan,) * 4
    kept = weight > 0
    area = average_precision(score[kept], true[kept], weight[kept])
    return both / named if named else np.nan, both / labelled, 2 * both / (named + labelled), float(area)
