"""A scene's patches together with what the model is told of the scene.

Truth is drawn first; what the model is told of it (source size, gain, background, ratio X2/M, responses) is drawn
around the truth with uncertainties that it is told as well. A group is a pure function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.materials import host as host_by_name
from stemctx_core.dataset.patches import RenderedPatches, render_patches
from stemctx_core.encoding.encode import EncodedScene, encode
from stemctx_core.scene import (
    UNKNOWN_BACKGROUND,
    UNKNOWN_SIGMA_ANGSTROM,
    Missing,
    Scene,
    without,
)
from stemctx_core.simulation.library import ResponseLibrary

#: Relative errors of the dose and of the scatter that the model is told, as a frame gives them.
DOSE_TOLD_SD: Final = 0.1
SCATTER_TOLD_SD: Final = 0.15
#: Share of the training scenes in which each value is hidden from the model.
MISSING_RATES: Final = {
    Missing.HIGH_TENSION: 0.06,
    Missing.CONVERGENCE: 0.06,
    Missing.DETECTOR: 0.08,
    Missing.SOURCE_SIZE: 0.15,
    Missing.BACKGROUND: 0.15,
    Missing.RATIO: 0.05,
}
#: Share of the training scenes of which nothing is known from the frame: source size and background are hidden both.
UNCALIBRATED_RATE: Final = 0.2


@dataclass(frozen=True)
class Group:
    """Patches of one scene.

    Attributes
    ----------
    patches
        (n, SAMPLES) float32, calibrated as the model expects.
    label
        (n,) int64 index into the scene's candidates.
    scene
        What the model is told.
    encoded
        The model's context inputs for that scene.
    truth
        What is really there.
    rendered
        The electrons that were counted.
    """

    patches: NDArray[np.float32]
    label: NDArray[np.int64]
    scene: Scene
    encoded: EncodedScene
    truth: Scene
    rendered: RenderedPatches


def tell(truth: Scene, rng: np.random.Generator) -> Scene:
    """What a frame's own calibration says of a scene: the truth with the errors that its nuisances name.

    The lattice constant is told as the host's nominal one.
    """
    n = truth.nuisance
    return replace(
        truth,
        host=host_by_name(truth.host.name),
        dose_e_per_angstrom2=truth.dose_e_per_angstrom2 * np.exp(rng.normal(0, DOSE_TOLD_SD)),
        nuisance=replace(
            n,
            jitter_angstrom=n.jitter_angstrom * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
            shift_angstrom=n.shift_angstrom * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
            amplitude=n.amplitude * np.exp(rng.normal(0, SCATTER_TOLD_SD)),
        ),
        optics=replace(
            truth.optics, sigma_angstrom=truth.optics.sigma_angstrom + rng.normal(0, n.sigma_angstrom)
        ),
        background=max(0.0, truth.background + rng.normal(0, n.background)),
        ratio=truth.ratio * (1 + rng.normal(0, n.ratio)),
    )


def hide(told: Scene, truth: Scene, rng: np.random.Generator) -> Scene:
    """Take values from what is told at random, at `MISSING_RATES`.

    Source size and background are hidden only where the truth lies in the range that is then assumed.
    """
    drawn = {m for m, rate in MISSING_RATES.items() if rng.random() < rate}
    if rng.random() < UNCALIBRATED_RATE:
        drawn |= {Missing.SOURCE_SIZE, Missing.BACKGROUND}
    for missing, value, (middle, sd) in (
        (Missing.SOURCE_SIZE, truth.optics.sigma_angstrom, UNKNOWN_SIGMA_ANGSTROM),
        (Missing.BACKGROUND, truth.background, UNKNOWN_BACKGROUND),
    ):
        if abs(value - middle) > 12**0.5 / 2 * sd:
            drawn.discard(missing)
    return without(told, drawn) if drawn else told


def make_group(
    library: ResponseLibrary,
    truth: Scene,
    repeats: int,
    rng: np.random.Generator,
    truth_library: ResponseLibrary | None = None,
    told: Scene | None = None,
    only_features: bool = False,
) -> Group:
    """Render `repeats` patches of every candidate of a scene, and encode what the model is told of it.

    Parameters
    ----------
    library
        What the model's predictions rest on.
    truth_library
        What the patches are rendered with, where that is another one.
    told
        What the model is told of the scene, where that is not drawn by `tell`.
    only_features
        Whether samples that no feature uses are left without electrons, which is faster.
    """
    told = tell(truth, rng) if told is None else told
    rendered = render_patches(truth_library or library, truth, repeats, rng, only_features)
    fraction = rendered.electrons / rendered.electrons_per_sample
    gain = 1 + rng.normal(0, told.nuisance.gain)
    patches = (fraction / rendered.reference - told.background) * gain
    return Group(patches.astype(np.float32), rendered.label, told, encode(library, told), truth, rendered)
