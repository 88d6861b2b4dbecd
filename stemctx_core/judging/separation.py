"""How far apart the expected patches of candidates are, in units of what spreads them.

Two candidates differ by a vector of features; counting noise and every nuisance spread it. The whitened separation is
d² = Δᵀ C⁻¹ Δ, with C the mean of both covariances. The log-odds of a site move by d²/2 on the mean, with a standard
deviation of d, and two equally likely candidates are confused in a share Φ(-d/2) of the sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.encoding.prediction import Prediction
from stemctx_core.scene import Nuisance


def separation(
    first: Prediction,
    second: Prediction,
    nuisance: Nuisance,
    dose_e_per_angstrom2: float,
    background: float,
) -> float:
    """Whitened distance d of two predictions."""
    spread = sum(
        (p.covariance(nuisance, dose_e_per_angstrom2, background) for p in (first, second)), np.zeros(())
    )
    return _whitened(first.mean - second.mean, spread / 2)


def hidden_defects(
    predictions: Sequence[Prediction],
    candidates: Sequence[Candidate],
    covariances: NDArray[np.float64],
    prevalence: Mapping[str, float] | None,
    needed_probability: float,
) -> list[tuple[str, str]]:
    """Defects, each with the host's column, that even a typical site of theirs could not show at this dose.

    A site whose patch is exactly as predicted for a defect gains d²/2 in log-odds over the host's own column; where
    that does not outweigh the prior up to the flagging threshold, it cannot be flagged.

    Parameters
    ----------
    covariances
        (C, K, K) of the predictions, `Predictions.covariances`.
    prevalence
        How often each role is met; the benchmark's real prevalence by default.
    needed_probability
        At which a site is flagged.
    """
    rates = classes.priors(candidates, prevalence)
    own = {c.sublattice: row for row, c in enumerate(candidates) if not c.is_defect}
    means = np.stack([p.mean for p in predictions])
    hosts = [own[c.sublattice] for c in candidates]
    away = means - means[hosts]
    solved = np.linalg.solve((covariances + covariances[hosts]) / 2, away[:, :, None])[:, :, 0]
    gained = 0.5 * np.sum(away * solved, axis=1)
    hidden = []
    for row, host in enumerate(hosts):
        odds = needed_probability / (1 - needed_probability) * rates[host] / rates[row]
        if row != host and gained[row] < np.log(odds):
            hidden.append((candidates[row].species, candidates[host].species))
    return hidden


def _whitened(difference: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    solved = cho_solve(cho_factor(covariance, lower=True), difference)
    return float(np.sqrt(max(0.0, difference @ solved)))
