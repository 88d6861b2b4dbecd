"""Which sites of a result may be acted on: flagged, of the wanted species, sure enough, and not too old."""

from __future__ import annotations

import time
from collections.abc import Collection

import msgspec
import numpy as np

from stemctx_core.classes import Role
from stemctx_core.errors import InputError
from stemctx_core.results import Decision, FrameIdentity, FrameResult


class Target(msgspec.Struct, frozen=True):
    """A site that a script may act on.

    Attributes
    ----------
    y_px, x_px
        In the frame that it was seen in.
    probability
        Of the species.
    seen_ns
        `time.monotonic_ns` when the frame's last row arrived.
    """

    y_px: float
    x_px: float
    role: Role
    species: str
    probability: float
    frame: FrameIdentity
    seen_ns: int

    def is_fresh(self, max_age_s: float, now_ns: int | None = None) -> bool:
        """Whether it was seen recently enough; the sample drifts away under an old one."""
        now = time.monotonic_ns() if now_ns is None else now_ns
        return 0 <= now - self.seen_ns <= max_age_s * 1e9


def fresh_targets(
    result: FrameResult,
    seen_ns: int,
    *,
    max_age_s: float,
    species: Collection[str] | None = None,
    min_probability: float = 0.9,
    now_ns: int | None = None,
) -> tuple[Target, ...]:
    """Targets of a result, the surest first; none where the frame was refused or is too old.

    Parameters
    ----------
    seen_ns
        `time.monotonic_ns` when the frame's last row arrived.
    max_age_s
        Older results are no targets.
    species
        Such as ``{"V_W"}``; None takes every flagged defect.
    min_probability
        Of the species.

    Raises
    ------
    InputError
        A species that cannot occur in this material, or a probability outside 0 to 1.
    """
    if not 0 <= min_probability <= 1:
        raise InputError(f"A probability of {min_probability} cannot be. Give one from 0 to 1.")
    known = {c.species for c in result.candidates}
    if species is not None and known and (strange := sorted(set(species) - known)):
        raise InputError(
            f"{', '.join(strange)} cannot occur here. The candidates are {', '.join(sorted(known))}."
        )
    if result.refusal is not None:
        return ()
    sites, probability = result.sites, result.sites.probability
    targets = [
        Target(
            float(sites.y_px[i]), float(sites.x_px[i]), result.role(i), result.species(i), float(probability[i]),
            result.frame, seen_ns,
        )
        for i in map(int, result.where(Decision.FLAG)[np.argsort(-probability[result.where(Decision.FLAG)])])
    ]  # fmt: skip
    return tuple(
        t
        for t in targets
        if t.probability >= min_probability
        and (species is None or t.species in species)
        and t.is_fresh(max_age_s, now_ns)
    )
