"""Evidence of several detectors that saw the same scan, HAADF and MAADF for one.

Electrons on different detectors are counted independently, but a column that is displaced, or brighter than it should
be, is so on all of them: log-likelihoods may not simply be added. Of a candidate against the host's own column, let
detector i give the log-likelihood ratio l_i. Where its model is right, l_i has a mean of ± d_i²/2 and a standard
deviation of d_i; let the ratios of two detectors correlate by ρ_ij. The sum of all has a mean of ± Σ d_i²/2 and a
variance of Σ ρ_ij d_i d_j, and is a log-likelihood ratio again once it is multiplied by

    s = Σ d_i² / Σ ρ_ij d_i d_j,

1 for ρ = 0, and half for two equal detectors with ρ = 1. Spread and correlation are measured on the frame's own host
columns, so that any nuisance that the detectors share counts, known or not. One s holds for a sublattice, the median
over its candidates: weights of their own for each detector and candidate would be optimal for Gaussian ratios, and
lose accuracy on real ones, which are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.kernels.robust import robust_sd

#: Correlation where too few columns are there to measure it.
_TYPICAL_CORRELATION: Final = 0.5
_FEWEST_SITES: Final = 60


def combine(evidence: Sequence[SiteEvidence], candidates: Sequence[Candidate]) -> SiteEvidence:
    """One evidence from those of several detectors at the same sites.

    A site counts as unknown where one of the detectors finds it so. A defect is hidden where no detector shows it.

    Parameters
    ----------
    evidence
        Of one frame each; the first one's sites and scale are kept.
    """
    first = evidence[0]
    if len(evidence) == 1:
        return first
    judged = np.all([e.obstacle == 0 for e in evidence], axis=0)
    each = np.stack([e.log_likelihood for e in evidence]).astype(np.float64)
    total = each.sum(axis=0)
    for code, sublattice in enumerate(Sublattice):
        here = judged & (first.sites.sublattice == code)
        rows = np.array([i for i, c in enumerate(candidates) if c.sublattice is sublattice])
        own = next(int(i) for i in rows if not candidates[i].is_defect)
        at_host = here & (rows[total[:, rows].argmax(axis=1)] == own)
        ratios = [each[:, at_host, row] - each[:, at_host, own] for row in rows if row != own]
        total[here] *= np.median([_factor(r) for r in ratios])
    total[~judged] = 0.0
    return replace(
        first,
        log_dose=float(np.log10(np.sum([10.0**e.log_dose for e in evidence]))),
        log_likelihood=total.astype(np.float32),
        obstacle=np.max([e.obstacle for e in evidence], axis=0).astype(np.int8),
        warnings=tuple(dict.fromkeys(w for e in evidence for w in e.warnings)),
        hidden=tuple(h for h in first.hidden if all(h in e.hidden for e in evidence[1:])),
    )


def _factor(ratios: NDArray[np.float64]) -> float:
    """What the sum of log-likelihood ratios (detectors, sites) of host columns is to be multiplied by."""
    count = len(ratios)
    if ratios.shape[1] < _FEWEST_SITES:
        return 1 / (1 + (count - 1) * _TYPICAL_CORRELATION)
    spread = np.array([robust_sd(r) for r in ratios])
    if not (spread > 0).all():
        return 1.0
    correlation = np.eye(count)
    for i in range(count):
        for j in range(i):
            both, apart = (robust_sd(ratios[i] / spread[i] + s * ratios[j] / spread[j]) ** 2 for s in (1, -1))
            correlation[i, j] = correlation[j, i] = max(0.0, (both - apart) / (both + apart))
    return float(np.sum(spread**2) / (spread @ correlation @ spread))
