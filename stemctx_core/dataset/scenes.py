"""Labelled scenes of a dataset: scene k is a pure function of the recipe, the library and k."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.dataset.patches import render_patches
from stemctx_core.dataset.recipe import DatasetRecipe
from stemctx_core.dataset.truth import random_truth
from stemctx_core.dataset.weights import class_weights
from stemctx_core.scene import Scene
from stemctx_core.simulation.library import ResponseLibrary

#: What is recorded of a scene beside its case: fields of `Scene` and of its nuisance.
CONTEXT: Final = (
    "a_angstrom",
    "high_tension_kv",
    "convergence_semi_angle_mrad",
    "inner_mrad",
    "outer_mrad",
    "sigma_angstrom",
    "dose_e_per_angstrom2",
    "background",
    "ratio",
    "jitter_angstrom",
    "shift_angstrom",
    "amplitude",
    "response",
    "defects",
    "electrons_per_sample",
    "reference",
)


@dataclass(frozen=True)
class LabelledScene:
    """Patches of one scene with what they are.

    Attributes
    ----------
    electrons
        (n, SAMPLES) float32 electrons counted.
    label
        (n,) int64 index into the candidates of the scene.
    weight
        (n,) float32 prevalence / sampling probability.
    number, case
        Of the scene, and of its case.
    truth
        What is really there.
    context
        Values by the names in `CONTEXT`.
    """

    electrons: NDArray[np.float32]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]
    number: int
    case: int
    truth: Scene
    context: dict[str, float]


def scene_truth(recipe: DatasetRecipe, number: int, rng: np.random.Generator) -> tuple[int, Scene]:
    """Case number and truth of a scene."""
    case_number = recipe.case_number(number)
    case = recipe.choice.cases()[case_number]
    low, high = np.log(recipe.dose_e_per_angstrom2)
    dose = float(np.exp(rng.uniform(low, high)))
    truth = random_truth(rng, case)
    return case_number, replace(truth, candidates=recipe.candidates(case), dose_e_per_angstrom2=dose)


def labelled_scene(library: ResponseLibrary, recipe: DatasetRecipe, number: int) -> LabelledScene:
    """Render a scene; the same library, recipe and number give the same counts.

    Raises
    ------
    LibraryError
        Where the library cannot answer for the scene.
    """
    rng = np.random.default_rng([recipe.seed, number])
    case_number, truth = scene_truth(recipe, number, rng)
    weights = class_weights(truth.candidates, recipe.sampling, recipe.power)
    counts = weights.counts(recipe.samples_of(number), rng)
    rendered = render_patches(library, truth, counts, rng, every_defect=recipe.every_defect)
    o, n = truth.optics, truth.nuisance
    values = {
        "a_angstrom": truth.host.a_angstrom,
        "electrons_per_sample": rendered.electrons_per_sample,
        "reference": rendered.reference,
    }
    context = {
        name: float(
            values[name]
            if name in values
            else next(getattr(x, name) for x in (truth, o, n) if hasattr(x, name))
        )
        for name in CONTEXT
    }
    return LabelledScene(
        rendered.electrons,
        rendered.label,
        weights.weight[rendered.label].astype(np.float32),
        number,
        case_number,
        truth,
        context,
    )
