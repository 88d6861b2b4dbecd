"""What is expected of every candidate once the noise is known, for frames that share scene and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.scatter import Scatter
from stemctx_core.encoding.encode import EncodedScene, assemble
from stemctx_core.encoding.prediction import Predictions
from stemctx_core.judging import unknown
from stemctx_core.judging.separation import gains


@dataclass(frozen=True, eq=False)
class NoisyScene:
    """Predictions with noise of known size.

    Attributes
    ----------
    covariances
        (C, K, K) of the predictions.
    encoded
        What the model is told.
    """

    predictions: Predictions
    covariances: NDArray[np.float64]
    encoded: EncodedScene

    @cached_property
    def gained(self) -> NDArray[np.float64]:
        """(C,) nats that a typical site of each candidate gains over the host's own column."""
        return gains(self.predictions.candidates, self.predictions.scene.candidates, self.covariances)

    @cached_property
    def loosened(self) -> unknown.Loosened:
        """The covariances with every column around a site free."""
        return unknown.Loosened(self.predictions, self.covariances)


def noisy_scene(predictions: Predictions, scatter: Scatter) -> NoisyScene:
    """Predictions with the noise of a frame, or of several that were added up."""
    noise = scatter.nuisance, scatter.dose_e_per_angstrom2, scatter.background
    covariances = predictions.covariances(*noise)
    encoded = assemble(predictions, *noise, sigma_includes_scatter=True, covariances=covariances)
    return NoisyScene(predictions, covariances, encoded)
