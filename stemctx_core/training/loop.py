"""The training loop: streamed batches, checkpoints, and a log that can be read while it runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from stemctx_core.dataset.groups import Group, make_group
from stemctx_core.dataset.truth import random_case, random_truth
from stemctx_core.simulation.library import shipped_library
from stemctx_core.training.model import CandidateScorer


@dataclass(frozen=True)
class TrainingPlan:
    """How much is trained, on what.

    Attributes
    ----------
    steps
        Optimiser steps.
    groups
        Simulated scenes in a step.
    repeats
        Patches of each candidate of a scene.
    learning_rate
        Peak of the one-cycle schedule.
    seed
        Of the data and the weights.
    """

    steps: int
    groups: int = 6
    repeats: int = 48
    learning_rate: float = 3e-3
    width: int = 80
    seed: int = 1

    @property
    def patches(self) -> int:
        """Number of patches seen, for candidate lists of seven."""
        return self.steps * self.groups * self.repeats * 7


QUICK = TrainingPlan(steps=300)
FULL = TrainingPlan(steps=6000)

Batch = tuple[dict[str, Tensor], Tensor]


class PatchStream(IterableDataset[Batch]):
    """Batches of a plan from a step on; batch k is a pure function of the seed and k."""

    def __init__(self, plan: TrainingPlan, first_step: int = 0) -> None:
        self.plan, self.first_step = plan, first_step

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this worker."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for step in range(self.first_step + worker, self.plan.steps, workers):
            yield training_batch(self.plan, step)


def training_batch(plan: TrainingPlan, step: int) -> Batch:
    """Inputs and labels of one step; every scene of it has as many candidates as the others."""
    library = shipped_library()
    rng = np.random.default_rng([plan.seed, step])
    dopants = int(rng.choice([1, 2, 3], p=[0.7, 0.15, 0.15]))
    groups = []
    for _ in range(plan.groups):
        case = random_case(rng, dopants, 235.0)
        groups.append(make_group(library, random_truth(rng, case), plan.repeats, rng))
    return collate(groups)


def collate(groups: list[Group]) -> Batch:
    """Stack groups along a new first axis."""
    names = groups[0].encoded.inputs()
    inputs = {name: torch.from_numpy(np.stack([g.encoded.inputs()[name] for g in groups])) for name in names}
    inputs["patches"] = torch.from_numpy(np.stack([g.patches for g in groups]))
    return inputs, torch.from_numpy(np.stack([g.label for g in groups]))


def train(
    plan: TrainingPlan,
    folder: Path,
    workers: int = 2,
    progress: Callable[[int, int, float], None] | None = None,
) -> CandidateScorer:
    """Train, or go on from the last checkpoint in the folder.

    Parameters
    ----------
    plan
        What to do; must equal the plan of a checkpoint that is there.
    folder
        Receives ``checkpoint.pt`` every 100 steps and ``log.jsonl``.
    workers
        Processes that render patches.
    progress
        Called with step, steps and the smoothed loss.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    net = CandidateScorer(plan.width)
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.learning_rate, total_steps=plan.steps + 1, pct_start=0.1
    )
    checkpoint = folder / "checkpoint.pt"
    step = 0
    if checkpoint.exists():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        if state["plan"] != asdict(plan):
            raise ValueError(
                f"The checkpoint in {folder} was trained with another plan. Give another --work-folder, or delete it."
            )
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        step = int(state["step"])
    started, smooth = time.monotonic(), float("nan")
    batches = DataLoader(PatchStream(plan, step), batch_size=None, num_workers=workers)
    net.train()
    for inputs, label in batches:
        logits = net(**inputs)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), label.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        step += 1
        smooth = loss.item() if smooth != smooth else 0.98 * smooth + 0.02 * loss.item()
        if progress:
            progress(step, plan.steps, smooth)
        if step % 100 == 0 or step == plan.steps:
            _save(checkpoint, plan, net, optimiser, schedule, step)
            line = {"step": step, "loss": round(smooth, 5), "seconds": round(time.monotonic() - started, 1)}
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
    net.eval()
    return net


def _save(
    path: Path,
    plan: TrainingPlan,
    net: CandidateScorer,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    step: int,
) -> None:
    state = {
        "plan": asdict(plan),
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "step": step,
    }
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)
