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
from stemctx_core.scene import Nuisance, host_rows


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


def gains(
    predictions: Sequence[Prediction], candidates: Sequence[Candidate], covariances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(C,) log-odds that a site whose patch is exactly as predicted for a candidate gains over the host's own column.

    Parameters
    ----------
    covariances
        (C, K, K) of the predictions, `Predictions.covariances`.
    """
    hosts = _hosts(candidates)
    means = np.stack([p.mean for p in predictions])
    away = means - means[hosts]
    solved = np.linalg.solve((covariances + covariances[hosts]) / 2, away[:, :, None])[:, :, 0]
    gained: NDArray[np.float64] = 0.5 * np.sum(away * solved, axis=1)
    return gained


def hidden_defects(
    candidates: Sequence[Candidate],
    gained: NDArray[np.float64],
    prevalence: Mapping[str, float] | None,
    needed_probability: float,
) -> list[tuple[str, str]]:
    """Defects, each with the host's column, that even a typical site of theirs could not show at this dose.

    Where what such a site gains does not outweigh the prior up to the flagging threshold, it cannot be flagged.

    Parameters
    ----------
    gained
        (C,) from `gains`.
    prevalence
        How often each role is met; the benchmark's real prevalence by default.
    needed_probability
        At which a site is flagged.
    """
    rates = classes.priors(candidates, prevalence)
    hidden = []
    for row, host in enumerate(_hosts(candidates)):
        odds = needed_probability / (1 - needed_probability) * rates[host] / rates[row]
        if row != host and gained[row] < np.log(odds):
            hidden.append((candidates[row].species, candidates[host].species))
    return hidden


def _hosts(candidates: Sequence[Candidate]) -> list[int]:
    """Row of the host's own column on the sublattice of each candidate."""
    own = host_rows(candidates)
    return [own[code] for code in classes.sublattice_codes(candidates)]


def _whitened(difference: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    solved = cho_solve(cho_factor(covariance, lower=True), difference)
    return float(np.sqrt(max(0.0, difference @ solved)))
