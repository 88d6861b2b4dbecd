"""Sites that are like nothing that is listed: contamination, an adatom, a second layer, a species nobody named.

Whatever the classifier makes of a patch, its features must lie where the best candidate is expected. Their whitened
distance is that of Gaussian noise where they do (its mean square is 1 a feature), and grows with dose where they do
not. One thing that is no unknown makes it large too: an unusual defect beside the site. A patch that stands out is
therefore looked at again with every column around it free, and is unknown only where its own column and the places
between the columns still do not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Role
from stemctx_core.contrast.features import OWN_NEIGHBOURS
from stemctx_core.encoding.encode import EncodedScene
from stemctx_core.encoding.prediction import Predictions
from stemctx_core.kernels.robust import medians
from stemctx_core.kernels.whitened import mean_squares

#: Mean squares a feature up to which a patch is like its candidate; at most 0.5 % of the sites of clean frames
#: are above it from 1e3 to 1e6 e/Å² once their neighbours are free.
LARGEST_DISTANCE: Final = 3.0
#: Relative amplitude, standard deviation, that a column beside the site is given in the second look: a missing one
#: is one off, one of a double weight too.
_NEIGHBOUR_AMPLITUDE: Final = 1.0
#: Below this part of what the six neighbours of the same kind should show, they are gone too: a hole, a blanked beam.
_LEAST_NEIGHBOURS: Final = 0.5
#: A frame of which more than this share is unknown is not of the declared material, or not a clean monolayer.
LARGEST_SHARE: Final = 0.35
_VACANT_ROLES: Final = (Role.METAL_VACANCY, Role.CHALCOGEN_DIVACANCY)


@dataclass(frozen=True)
class Distances:
    """How far each patch lies from its best candidate, mean squares of whitened features.

    Attributes
    ----------
    plain
        (n,) as expected among the host's own columns.
    neighbours_free
        (n,) with the amplitudes of the columns around fitted; the same as `plain` where that is small, and infinite
        where the columns around are gone too, which free amplitudes would explain.
    usual
        Median of `plain`, at least 1: what errors that the whole frame shares make of it.
    """

    plain: NDArray[np.float64]
    neighbours_free: NDArray[np.float64]
    usual: float

    @property
    def unlike(self) -> NDArray[np.bool_]:
        """(n,) whether a patch is like none of the candidates."""
        unlike: NDArray[np.bool_] = self.neighbours_free > LARGEST_DISTANCE * self.usual
        return unlike


class Loosened:
    """Covariances with every column around a site free, inverted as they are asked for.

    Parameters
    ----------
    covariances
        (C, K, K) of the predictions.
    """

    def __init__(self, predictions: Predictions, covariances: NDArray[np.float64]) -> None:
        self._predictions, self._covariances = predictions, covariances
        self._inverse: dict[int, NDArray[np.float64]] = {}

    def inverse(self, row: int) -> NDArray[np.float64]:
        """(K, K) of a candidate."""
        if row not in self._inverse:
            free = _NEIGHBOUR_AMPLITUDE**2 * _neighbours(self._predictions, row)
            self._inverse[row] = np.linalg.inv(self._covariances[row] + free)
        return self._inverse[row]


def distances(
    features: NDArray[np.float32],
    best: NDArray[np.integer[Any]],
    squares: NDArray[np.float32],
    encoded: EncodedScene,
    loosened: Loosened,
) -> Distances:
    """Distance of every patch from the candidate that it is taken for.

    Parameters
    ----------
    features
        (n, K) in units of the reference.
    best
        (n,) row of each patch's best candidate.
    squares
        (n, C) whitened distances from candidates, `stemctx_core.kernels.whitened.squares`.
    encoded, loosened
        Of the scene.
    """
    plain = squares[np.arange(len(best)), best].astype(np.float64) / features.shape[1]
    other = np.flatnonzero(np.isinf(plain))  # they look most like a column of the other sublattice
    plain[other] = mean_squares(features[other], best[other], encoded.mean, encoded.whiten)
    usual = max(1.0, float(medians(plain[None])[0])) if len(plain) else 1.0
    again = plain.copy()
    far = plain > LARGEST_DISTANCE * usual
    for row in np.unique(best[far]):
        mine = far & (best == row)
        away = features[mine] - encoded.mean[row]
        again[mine] = np.mean(away * (away @ loosened.inverse(int(row))), axis=1)
    around, expected = (f[:, OWN_NEIGHBOURS].mean(axis=1) for f in (features[far], encoded.mean[best[far]]))
    again[np.flatnonzero(far)[around < _LEAST_NEIGHBOURS * expected]] = np.inf
    return Distances(plain, again, usual)


def _neighbours(predictions: Predictions, row: int) -> NDArray[np.float64]:
    """(K, K) covariance for a relative amplitude of 1 of every column around a site, without its own column."""
    candidates = predictions.scene.candidates
    sublattice = candidates[row].sublattice
    vacant = next(i for i, c in enumerate(candidates) if c.sublattice is sublattice and c.role in _VACANT_ROLES)
    own = predictions.candidates[row].mean - predictions.candidates[vacant].mean
    around: NDArray[np.float64] = predictions.candidates[row].components["amplitude"] - np.outer(own, own)
    return around
