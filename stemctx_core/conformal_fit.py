"""Prediction sets for a model's card: its likelihoods on held-out patches, with both priors that are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classes import Candidate, Sublattice
from stemctx_core.classifier import posterior_from
from stemctx_core.conformal import COVERAGES, fit_conformal
from stemctx_core.verdict import site_prior


@dataclass(frozen=True)
class HeldOut:
    """Patches of one scene that the model was not trained on, as many of every candidate.

    Attributes
    ----------
    log_likelihood
        (n, C) as the model gives it, temperature applied.
    label
        (n,) true row of `candidates`.
    log_dose
        `EncodedScene.log_dose` of the scene.
    """

    log_likelihood: NDArray[np.float32]
    label: NDArray[np.int64]
    candidates: tuple[Candidate, ...]
    log_dose: float


def fit_card(samples: Sequence[HeldOut], coverages: Sequence[float] = COVERAGES) -> dict[str, Any]:
    """The card's ``conformal``: tables for a balanced prior and for the real prevalence of each role."""
    widest = max(len(s.candidates) for s in samples)
    label = np.concatenate([s.label for s in samples])
    log_dose = np.concatenate([np.full(len(s.label), s.log_dose) for s in samples])
    balanced = np.concatenate([_padded(posterior_from(s.log_likelihood), widest) for s in samples])
    real = np.concatenate([_padded(posterior_from(s.log_likelihood, _prior(s)), widest) for s in samples])
    weight = np.concatenate([_weight(s) for s in samples])
    return {
        "balanced": fit_conformal(balanced, label, log_dose, coverages),
        "prevalence": fit_conformal(real, label, log_dose, coverages, weight),
    }


def _prior(sample: HeldOut) -> NDArray[np.float64]:
    """(n, C) prior of each patch at the real prevalence, given its sublattice."""
    codes = [list(Sublattice).index(c.sublattice) for c in sample.candidates]
    return site_prior(sample.candidates, np.array(codes, np.int8)[sample.label])


def _weight(sample: HeldOut) -> NDArray[np.float64]:
    """(n,) how much more often a patch's candidate is met among the sites of a crystal than in the sample."""
    real = np.take_along_axis(_prior(sample), sample.label[:, None], axis=1)[:, 0]
    counts = np.bincount(sample.label, minlength=len(sample.candidates))
    # A metal and a chalcogen site are equally frequent in the weights, as one of each stands in a cell.
    weight: NDArray[np.float64] = real / counts[sample.label] * len(sample.label)
    return weight


def _padded(posterior: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.pad(posterior, ((0, 0), (0, width - posterior.shape[1])))
