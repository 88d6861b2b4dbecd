"""Which sites of a result may be acted on: flagged, of the wanted species, and sure enough."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from stemctx_core.chemistry.classes import Candidate, Role
from stemctx_core.errors import InputError
from stemctx_core.judging.decision import OBSTACLES
from stemctx_core.results import Decision, FrameResult


def wanted_sites(
    result: FrameResult,
    *,
    species: Collection[str] | None = None,
    min_probability: float = 0.9,
    roles: Collection[Role] | None = None,
    min_posterior: float | None = None,
) -> list[int]:
    """Rows of the sites that are looked for, the surest first; none where the frame was refused.

    Parameters
    ----------
    species, roles
        Such as ``{"V_W"}``; None takes every defect.
    min_probability
        Of the most probable species of a flagged site.
    min_posterior
        Instead of flags and `min_probability`: sites where what is wanted has at least this posterior together,
        whatever was decided of them. Sites that were not judged are left out.

    Raises
    ------
    InputError
        A species or a role that cannot occur in this material, or a probability outside 0 to 1.
    """
    for given in (min_probability, min_posterior):
        if given is not None and not 0 <= given <= 1:
            raise InputError(f"A probability of {given} cannot be. Give one from 0 to 1.")
    listed = result.candidates
    known = {c.species for c in listed}
    if species is not None and known and (strange := sorted(set(species) - known)):
        raise InputError(
            f"{', '.join(strange)} cannot occur here. The candidates are {', '.join(sorted(known))}."
        )
    if roles is not None and known and (odd := sorted(set(roles) - {c.role for c in listed})):
        raise InputError(f"No candidate here has the role {', '.join(odd)}.")
    if result.refusal is not None:
        return []

    def is_wanted(candidate: Candidate) -> bool:
        if species is None and roles is None:
            return candidate.is_defect
        return (species is None or candidate.species in species) and (roles is None or candidate.role in roles)

    wanted = np.array([is_wanted(c) for c in listed], bool)
    sites = result.sites
    if min_posterior is None:
        measure = sites.probability.astype(np.float64)
        rows = result.where(Decision.FLAG)
        taken = wanted[sites.best[rows]] if species is not None or roles is not None else True
        rows = rows[taken & (measure[rows] >= min_probability)]
    else:
        measure = sites.posterior[:, wanted].sum(axis=1, dtype=np.float64)
        obstacles = [k for k, text in enumerate(result.reasons) if text in OBSTACLES[1:]]
        rows = np.flatnonzero((measure >= min_posterior) & ~np.isin(sites.reason, obstacles))
    return [int(i) for i in rows[np.argsort(-measure[rows], kind="stable")]]
