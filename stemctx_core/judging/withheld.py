"""Vacancies that a frame's own scatter forbids to call.

A model of the noise says how far a vacancy lies from a full column, and the frame's own full columns say how far they
scatter. Where a vacancy is less than three such spreads away, columns that are only faint by chance are as many as
vacancies, whatever the model says of a single one: nothing of that kind is called, and the reason says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.encoding.prediction import Predictions
from stemctx_core.kernels.robust import robust_sds

#: Spreads of the host's columns that a candidate must be away from them to be called.
LEAST_SEPARATION: Final = 3.0
_ROLES: Final = (Role.CHALCOGEN_VACANCY, Role.CHALCOGEN_DIVACANCY, Role.OXYGEN)
#: The spread of fewer columns is not measured.
_FEWEST: Final = 60
#: Sites that are looked at, at most.
_ENOUGH: Final = 4000
#: A species and why it is not called.
Withheld = tuple[tuple[str, str], ...]


def withheld_by_features(
    features: NDArray[np.float32],
    sublattice: NDArray[np.int8],
    predictions: Predictions,
    candidates: Sequence[Candidate],
    covariances: NDArray[np.float64],
) -> Withheld:
    """What may not be called, by the linear feature that tells each candidate from the host best.

    Parameters
    ----------
    features
        (n, K) in units of the reference.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    covariances
        (C, K, K) of the predictions with the noise as measured, `Predictions.covariances`.
    """
    mine = np.flatnonzero(sublattice == 1)
    rows = [k for k, c in enumerate(candidates) if c.role in _ROLES]
    if len(mine) < _FEWEST or not rows:
        return ()
    seen = features[mine[:: 1 + len(mine) // _ENOUGH]]
    own = next(k for k, c in enumerate(candidates) if not c.is_defect and c.sublattice is Sublattice.CHALCOGEN)
    host = predictions.candidates[own]
    away = np.stack([predictions.candidates[k].mean - host.mean for k in rows])
    best = np.linalg.solve(covariances[own], away.T).T
    spread = robust_sds(best.astype(np.float32) @ seen.T)
    separation = np.full(len(candidates), np.inf)
    separation[rows] = np.sum(away * best, axis=1) / np.maximum(spread, 1e-12)
    return withheld_of(candidates, separation)


def withheld_of(candidates: Sequence[Candidate], separation: NDArray[np.float64]) -> Withheld:
    """Species of what is too near the host's column to be called, each with the reason.

    Parameters
    ----------
    separation
        (C,) spreads of the host's columns between each candidate and them.
    """
    own = next(c for c in candidates if not c.is_defect and c.sublattice is Sublattice.CHALCOGEN)
    return tuple(
        (
            candidate.species,
            f"{candidate.species} is not called in this frame: it is {away:.1f} spreads of the {own.species} "
            f"columns away from them, {LEAST_SEPARATION:g} are needed",
        )
        for candidate, away in zip(candidates, separation, strict=True)
        if candidate.role in _ROLES and away < LEAST_SEPARATION
    )
