"""The settings of a tuning, as a TOML file or as defaults."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_Strength = Annotated[float, Meta(ge=0, le=1e3)]
_Count = Annotated[int, Meta(ge=1)]


class TuningPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How hard is pulled, and on how much.

    Attributes
    ----------
    steps, learning_rate
        Adam steps of a fit, and their first size.
    rehearsal, distillation
        Weight of rendered patches, by their truth and by what the net said of them before, over that of the labels.
    decay
        Weight of the squared size of what is moved, over the number of labels.
    patches
        Labels in a step.
    rehearsal_batches, held_out_batches
        Rendered batches to train with, and others to measure forgetting on, of `scenes` scenes each.
    scenes, repeats
        Of a batch, and patches of each candidate of a scene.
    folds
        Of the cross-validation.
    conformal_scenes
        Rendered scenes that the prediction sets are fitted on again.
    seed
        Of everything that is drawn.
    """

    steps: _Count = 100
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.02
    rehearsal: _Strength = 1.0
    distillation: _Strength = 1.0
    decay: _Strength = 0.1
    patches: _Count = 512
    rehearsal_batches: _Count = 30
    held_out_batches: _Count = 60
    scenes: _Count = 8
    repeats: _Count = 4
    folds: Annotated[int, Meta(ge=2, le=20)] = 5
    conformal_scenes: _Count = 3000
    seed: int = 1
