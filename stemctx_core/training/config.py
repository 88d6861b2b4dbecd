"""What a training run does, as a TOML file or as defaults."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from stemctx_core.training.settings_file import read_settings

_Count = Annotated[int, Meta(ge=1)]


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much is trained, on what.

    Attributes
    ----------
    patches
        Least number of patches seen, over all processes.
    scenes, repeats
        Simulated scenes in a step of one process, and patches of each candidate of a scene.
    learning_rate, weight_decay
        Peak of the one-cycle schedule; AdamW's decay.
    averaging
        Decay of the running mean of the weights; the mean is exported where it is better on held-out scenes.
    width, token, layers, heads
        Size of the scorer, see `stemctx_core.training.model.ScorerSize`.
    baselines
        Whether the paper's form is trained on the same batches at its four levels of information.
    seed
        Of data and weights.
    checkpoint_s
        Longest time between two checkpoints (s).
    held_out_batches
        For the temperatures and the choice of weights.
    """

    patches: _Count = 56_000_000
    scenes: _Count = 8
    repeats: _Count = 32
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 3e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    averaging: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    width: _Count = 64
    token: Annotated[int, Meta(ge=0)] = 48
    layers: Annotated[int, Meta(ge=0)] = 2
    heads: _Count = 4
    baselines: bool = True
    seed: int = 1
    checkpoint_s: Annotated[float, Meta(gt=0, le=120)] = 60.0
    held_out_batches: _Count = 120

    def steps(self, processes: int = 1) -> int:
        """Optimiser steps, for candidate lists of seven, which are about the shortest."""
        return math.ceil(self.patches / (self.scenes * self.repeats * 7 * processes))


QUICK = TrainingConfig(patches=1_000_000, held_out_batches=30)


def read_config(path: Path) -> TrainingConfig:
    """Read a TOML file of fields of `TrainingConfig`; errors as of `read_settings`."""
    return read_settings(path, TrainingConfig, "training", "'stemctx train --help' lists its fields.")


def fields(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as plain values."""
    return msgspec.structs.asdict(config)
