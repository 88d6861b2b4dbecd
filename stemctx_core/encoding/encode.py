"""What a model is given of a scene: every candidate's prediction whitened, and the context as numbers.

The model sees a patch only through its whitened distance from each candidate, so a candidate list may have any length
and a dopant, host or detector that was never trained on enters through its simulated response.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

from stemctx_core.chemistry.classes import Candidate, sublattice_codes
from stemctx_core.encoding.compositions import compositions, context_vector
from stemctx_core.encoding.prediction import Predictions, predict
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary


@dataclass(frozen=True, eq=False)
class EncodedScene:
    """The model's context inputs, all float32; C candidates, K features.

    Attributes
    ----------
    mean
        (C, K) predicted features in units of `reference`.
    whiten
        (C, K, K) inverse Cholesky factor of the covariance.
    log_det
        (C,) logarithm of the covariance's determinant.
    scale
        (C, K) standard deviation of each feature.
    log_dose
        (1,) log10 of electrons per Å² times `reference`.
    composition
        (C, COMPOSITION_WIDTH) what stands in each candidate's column.
    context
        (CONTEXT_WIDTH,) what is known of the scene.
    reference
        Peak of the brighter host column as a fraction of the beam; patches are given in units of it.
    candidates
        The list that the rows are of.
    """

    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]
    log_det: NDArray[np.float32]
    scale: NDArray[np.float32]
    log_dose: NDArray[np.float32]
    composition: NDArray[np.float32]
    context: NDArray[np.float32]
    reference: float
    candidates: tuple[Candidate, ...]

    @cached_property
    def sublattice(self) -> NDArray[np.int8]:
        """(C,) of each candidate, 0 metal, 1 chalcogen."""
        return np.array(sublattice_codes(self.candidates), np.int8)

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """Arrays by the names they have in the exported graph."""
        return {
            "mean": self.mean,
            "whiten": self.whiten,
            "log_det": self.log_det,
            "scale": self.scale,
            "log_dose": self.log_dose,
            "composition": self.composition,
            "context": self.context,
        }


def inverse_factors(
    covariances: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, K, K) Cholesky factors of covariances, and their inverses."""
    factors = np.asarray(np.linalg.cholesky(covariances), np.float64)
    return factors, np.stack([dtrtri(factor, lower=1)[0] for factor in factors])


def assemble(
    predictions: Predictions,
    nuisance: Nuisance,
    dose_e_per_angstrom2: float,
    background: float,
    *,
    sigma_includes_scatter: bool = False,
    covariances: NDArray[np.float64] | None = None,
) -> EncodedScene:
    """Predictions and the size of each nuisance to the model's inputs.

    Parameters
    ----------
    background
        Uniform intensity whose counting noise is in the frame, in units of the reference.
    covariances
        (C, K, K) for these, where they are known already.
    sigma_includes_scatter
        Whether the scene's source size was measured on the mean of many sites, which their displacements blur.
        Otherwise the predictions are blurred by them here.
    """
    variance = 0.0 if sigma_includes_scatter else nuisance.jitter_angstrom**2 + nuisance.shift_angstrom**2
    mean = np.stack([p.mean + variance * p.blur for p in predictions.candidates])
    if covariances is None:
        covariances = predictions.covariances(nuisance, dose_e_per_angstrom2, background)
    factors, whiten = inverse_factors(covariances)
    log_dose = float(np.log10(dose_e_per_angstrom2 * predictions.reference))
    told = replace(predictions.scene, nuisance=nuisance, background=background)
    return EncodedScene(
        mean=mean.astype(np.float32),
        whiten=whiten.astype(np.float32),
        log_det=2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1).astype(np.float32),
        scale=np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)).astype(np.float32),
        log_dose=np.array([log_dose], np.float32),
        composition=compositions(predictions.scene.candidates),
        context=context_vector(told, log_dose, predictions.expected_ratio, predictions.ratio),
        reference=predictions.reference,
        candidates=predictions.scene.candidates,
    )


def encode(library: ResponseLibrary, scene: Scene) -> EncodedScene:
    """Predict and assemble in one step, for a scene whose nuisances are known."""
    return assemble(predict(library, scene), scene.nuisance, scene.dose_e_per_angstrom2, scene.background)
