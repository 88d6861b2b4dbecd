"""How often each class is drawn, and what a draw is worth at real prevalence.

Defects are rare: at real prevalence 98 of 100 sites are the host's own columns, and a model that never flags anything is
right nearly always. Classes are therefore drawn with probabilities of one's choice, and every sample carries the weight

    w = prevalence / sampling probability

so that a weighted mean over the samples estimates the mean over a real crystal, whatever they were drawn with
(importance sampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import REAL_PREVALENCE, Candidate, Role, Sublattice, priors
from stemctx_core.dataset.kinds import Sampling
from stemctx_core.errors import InputError

#: Of the sites of a 1H monolayer one half are metal sites and one half are chalcogen columns.
_SUBLATTICE_SHARE: Final = 0.5
#: Share of the sites of a sublattice that are defects in a crystal of balanced or tempered classes.
CRYSTAL_DEFECTS: Final = 0.15


@dataclass(frozen=True)
class ClassWeights:
    """Probabilities of a candidate list, C candidates; both sum to 1.

    Attributes
    ----------
    sampling
        (C,) probability that a sample is of a candidate.
    prevalence
        (C,) share of the candidate among the sites of a real crystal.
    """

    sampling: NDArray[np.float64]
    prevalence: NDArray[np.float64]

    @property
    def weight(self) -> NDArray[np.float64]:
        """(C,) prevalence / sampling probability; its mean over the samples is 1."""
        return self.prevalence / self.sampling

    def counts(self, samples: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(C,) samples of each candidate, `samples` in all.

        Systematic sampling: a candidate's number differs from `samples` times its probability by less than one, and
        is equal to it on average.
        """
        edges = np.floor(samples * np.cumsum(self.sampling) + rng.random())
        edges[-1] = samples
        counts: NDArray[np.int64] = np.diff(edges, prepend=0.0).astype(np.int64)
        return counts


def class_weights(
    candidates: Sequence[Candidate],
    sampling: Sampling = Sampling.BALANCED,
    power: float = 0.5,
    prevalence: dict[Role, float] | None = None,
) -> ClassWeights:
    """Sampling probabilities of a candidate list.

    Parameters
    ----------
    power
        Of the prevalence, for `Sampling.TEMPERED`: 0 is balanced, 1 is prevalence.
    prevalence
        How often each role is met on its sublattice; `classes.REAL_PREVALENCE` where left out.

    Raises
    ------
    InputError
        A power outside 0 to 1.
    """
    if not 0 <= power <= 1:
        raise InputError(
            f"A power of {power:g} cannot temper: give 0 (balanced) to 1 (as often as met in a crystal)."
        )
    real = np.array(priors(candidates, prevalence)) * _SUBLATTICE_SHARE
    exponent = {Sampling.BALANCED: 0.0, Sampling.PREVALENCE: 1.0, Sampling.TEMPERED: power}[sampling]
    drawn = real**exponent
    return ClassWeights(drawn / drawn.sum(), real)


def crystal_prevalence(
    candidates: Sequence[Candidate], sampling: Sampling = Sampling.BALANCED, power: float = 0.5
) -> dict[Role, float]:
    """How often each role is met in a rendered crystal.

    A crystal cannot hold as many defects as host columns and still be one: unless it is drawn at real prevalence,
    the defects of each sublattice take `CRYSTAL_DEFECTS` of its sites, shared by powers of their real prevalence.
    """
    if sampling is Sampling.PREVALENCE:
        return dict(REAL_PREVALENCE)
    exponent = 0.0 if sampling is Sampling.BALANCED else power
    rates: dict[Role, float] = {}
    for sublattice in Sublattice:
        roles = {c.role for c in candidates if c.sublattice is sublattice and c.is_defect}
        parts = {role: REAL_PREVALENCE[role] ** exponent for role in Role if role in roles}
        rates |= {role: CRYSTAL_DEFECTS * part / sum(parts.values()) for role, part in parts.items()}
    return rates
