"""Prediction sets for a model's card: its likelihoods on held-out patches, with both priors that are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, sublattice_codes
from stemctx_core.classifier.classifier import Classifier, load_bundle, posterior_from, write_card
from stemctx_core.dataset.groups import make_group
from stemctx_core.dataset.truth import random_case, random_truth
from stemctx_core.judging.conformal import COVERAGES, fit_conformal
from stemctx_core.judging.verdict import site_prior
from stemctx_core.simulation.library import ResponseLibrary, shipped_library

#: Scenes of this seed are drawn for nothing else.
_SEED: Final = 20260718
_REPEATS: Final = 6
_OUTER_LIMIT_MRAD: Final = 235.0


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


def held_out_scenes(
    classifier: Classifier, library: ResponseLibrary, scenes: int, seed: int = _SEED
) -> list[HeldOut]:
    """Scenes over the training ranges, of one dopant each, judged by a model."""
    judged = []
    for number in range(scenes):
        rng = np.random.default_rng([seed, number])
        truth = random_truth(rng, random_case(rng, 1, _OUTER_LIMIT_MRAD, library))
        group = make_group(library, truth, _REPEATS, rng)
        judged.append(
            HeldOut(
                classifier.log_likelihood(group.patches, group.encoded),
                group.label,
                truth.candidates,
                float(group.encoded.log_dose[0]),
            )
        )
    return judged


def fit_bundle(folder: Path, scenes: int = 3000, seed: int = _SEED) -> dict[str, Any]:
    """Fit prediction sets for a model and write them into its card, which appears whole or not at all.

    Returns
    -------
    dict
        The card's ``conformal``.

    Raises
    ------
    BundleError
        A folder that is no model bundle.
    """
    classifier = Classifier(load_bundle(folder))
    fitted = fit_card(held_out_scenes(classifier, shipped_library(), scenes, seed))
    write_card(folder, {**classifier.bundle.card, "conformal": {**fitted, "scenes": scenes, "seed": seed}})
    return fitted


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
    codes = np.array(sublattice_codes(sample.candidates), np.int8)
    return site_prior(sample.candidates, codes[sample.label])


def _weight(sample: HeldOut) -> NDArray[np.float64]:
    """(n,) how much more often a patch's candidate is met among the sites of a crystal than in the sample."""
    real = np.take_along_axis(_prior(sample), sample.label[:, None], axis=1)[:, 0]
    counts = np.bincount(sample.label, minlength=len(sample.candidates))
    # A metal and a chalcogen site are equally frequent in the weights, as one of each stands in a cell.
    weight: NDArray[np.float64] = real / counts[sample.label] * len(sample.label)
    return weight


def _padded(posterior: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.pad(posterior, ((0, 0), (0, width - posterior.shape[1])))
