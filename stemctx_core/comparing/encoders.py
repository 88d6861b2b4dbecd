"""Host's columns as points: their 36 linear features, and the evidence that the shipped classifier makes of these.

Features are linear and rest on no training: a shift of means shows in them. The evidence is what the classifier itself
sees of a difference; a change of spread shows in it more often. `docs/comparing.md` says what each finds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.comparing.views import FrameView
from stemctx_core.encoding.encode import EncodedScene, assemble

Points = tuple[NDArray[np.float64], NDArray[np.intp]]
"""(n, d) points, and the (n,) block of each."""


def linear(view: FrameView, sublattice: int) -> Points:
    """Features of the host's own columns of a sublattice, in units of the brighter column."""
    mine = _mine(view, sublattice)
    return view.lattice.features[mine].astype(np.float64), view.block[mine]


def evidence(view: FrameView, sublattice: int, told: EncodedScene) -> Points:
    """Log-likelihood of every candidate for the same columns, the classifier being told of one scene."""
    mine = _mine(view, sublattice)
    logits = _classifier().log_likelihood_of_features(view.lattice.features[mine], told)
    return logits.astype(np.float64), view.block[mine]


def scene_of(view: FrameView) -> EncodedScene:
    """What the classifier is told of a frame."""
    scatter = view.lattice.scatter
    return assemble(
        view.lattice.predictions,
        scatter.nuisance,
        scatter.dose_e_per_angstrom2,
        scatter.background,
        sigma_includes_scatter=True,
    )


def _mine(view: FrameView, sublattice: int) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = (view.lattice.sublattice == sublattice) & view.lattice.host_like
    return chosen


@lru_cache(maxsize=1)
def _classifier() -> Classifier:
    return Classifier(load_bundle(None))
