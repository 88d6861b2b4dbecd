"""The state of a training on disk: written whole or not at all, and read back to the same curve."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stemctx_core.errors import InputError
from stemctx_core.training.config import TrainingConfig, fields

#: Fields that may differ between a run and the one that goes on with it.
_FREE = ("checkpoint_s", "held_out_batches")


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    step, patches
        Steps done and patches seen over all processes.
    seconds
        Time spent, over restarts.
    losses
        Smoothed loss of each net.
    """

    step: int = 0
    patches: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


def save(path: Path, config: TrainingConfig, world: int, progress: Progress, states: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and move it there."""
    content = {"config": fields(config), "world": world, "progress": vars(progress), **states}
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: Path, config: TrainingConfig, world: int) -> tuple[Progress, dict[str, Any]] | None:
    """Read a checkpoint, or None where there is none.

    Raises
    ------
    InputError
        A checkpoint of another configuration or number of processes, or one that cannot be read.
    """
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
        config_then, world_then = content.pop("config"), content.pop("world")
        progress = Progress(**content.pop("progress"))
    except Exception as error:  # torch has no common base for what a damaged file raises
        raise InputError(
            f"The checkpoint {path} cannot be read: {error}. Delete it, or give another --work-folder."
        ) from error
    now = fields(config)
    other = [k for k in now if k not in _FREE and config_then.get(k) != now[k]]
    if other or world_then != world:
        said = ", ".join(other) or "number of processes"
        raise InputError(
            f"The checkpoint in {path.parent} was trained with another plan ({said}). "
            "Give another --work-folder, or delete it."
        )
    return progress, content
