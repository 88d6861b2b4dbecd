"""The training loop: streamed batches, checkpoints, and a log that can be read while it runs.

Started by ``torchrun`` it is one process of several (torch's DistributedDataParallel); a CUDA device is used where
there is one.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stemctx_core.training import checkpoint
from stemctx_core.training.checkpoint import Progress
from stemctx_core.training.config import TrainingConfig
from stemctx_core.training.nets import Nets
from stemctx_core.training.processes import Processes
from stemctx_core.training.stream import BatchStream, loader
from stemctx_core.whole_files import write_whole

_SMOOTHING = 0.98
_LOG_EVERY = 50
_LONGEST_NORM = 1.0


class Watcher(Protocol):
    """Told after every step."""

    def __call__(self, progress: Progress, steps: int) -> None:
        """Called with the state of the run and the number of its steps."""


def train(
    config: TrainingConfig,
    folder: Path,
    workers: int = 2,
    watch: Watcher | None = None,
    processes: Processes | None = None,
) -> tuple[Nets, Nets, Progress]:
    """Train, or go on from the last checkpoint in the folder.

    Parameters
    ----------
    config
        What to do; must equal that of a checkpoint that is there.
    folder
        Receives ``checkpoint.pt``, ``log.jsonl`` and TensorBoard's events.
    workers
        Worker processes that render patches, for each training process.
    watch
        Called after every step.
    processes
        Which of how many processes this is; only itself where left out.

    Returns
    -------
    tuple
        The nets as trained, with the running mean of their weights, and how far the run got.
    """
    processes = processes or Processes()
    folder.mkdir(parents=True, exist_ok=True)
    steps = config.steps(processes.world)
    state = _State(config, steps, processes.device)
    place = folder / "checkpoint.pt"
    if (found := checkpoint.load(place, config, processes.world)) is not None:
        state.restore(*found)
    wrapped: nn.Module = DistributedDataParallel(state.nets) if processes.world > 1 else state.nets
    journal = _Journal(folder, state) if processes.is_first else None
    stream = BatchStream(config, steps, state.progress.step, processes.rank, processes.world)
    since = saved = time.monotonic()
    for batch in loader(stream, workers):
        state.step(wrapped, {k: v.to(processes.device, non_blocking=True) for k, v in batch.items()})
        state.progress.patches += batch["label"].numel() * processes.world
        now = time.monotonic()
        state.progress.seconds += now - since
        since = now
        last = state.progress.step == steps
        if journal:
            journal.note(last)
            if last or now - saved > config.checkpoint_s:
                checkpoint.save(place, config, processes.world, state.progress, state.states())
                saved = now
        if watch:
            watch(state.progress, steps)
    if journal:
        journal.close()
    return state.nets.eval(), state.mean.eval(), state.progress


class _State:
    """Everything that a checkpoint holds."""

    def __init__(self, config: TrainingConfig, steps: int, device: torch.device) -> None:
        self.averaging = config.averaging
        self.nets, self.mean = Nets(config).to(device), Nets(config).to(device)
        self.optimiser = torch.optim.AdamW(
            self.nets.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, config.learning_rate, total_steps=steps + 1, pct_start=0.1
        )
        self.parts = self.nets.parts()
        self.progress = Progress()

    def states(self) -> dict[str, Any]:
        return {
            "nets": self.nets.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, progress: Progress, states: dict[str, Any]) -> None:
        self.progress = progress
        for name, state in states.items():
            getattr(self, name).load_state_dict(state)

    def step(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> None:
        losses: Tensor = wrapped(batch)
        self.optimiser.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for part in self.parts:
            torch.nn.utils.clip_grad_norm_(part, _LONGEST_NORM)
        self.optimiser.step()
        self.schedule.step()
        p = self.progress
        p.step += 1
        decay = min(self.averaging, p.step / (p.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.nets.parameters()), 1 - decay)
        for name, loss in zip(self.nets.names, losses.detach().tolist(), strict=True):
            p.losses[name] = _SMOOTHING * p.losses.get(name, loss) + (1 - _SMOOTHING) * loss


class _Journal:
    """``log.jsonl`` and TensorBoard's events; lines after the step that a run goes on from are dropped."""

    def __init__(self, folder: Path, state: _State) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._state, self._path = state, folder / "log.jsonl"
        kept = []
        if self._path.exists():
            lines = (
                json.loads(line)
                for line in self._path.read_text(encoding="utf-8").splitlines()
                if line.endswith("}")
            )
            kept = [line for line in lines if line["step"] <= state.progress.step]
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._events = SummaryWriter(str(folder / "events"), purge_step=state.progress.step + 1)
        self._seen = (state.progress.seconds, state.progress.patches)

    def note(self, last: bool) -> None:
        p = self._state.progress
        if p.step % _LOG_EVERY and not last:
            return
        seconds, patches = self._seen
        rate = (p.patches - patches) / max(p.seconds - seconds, 1e-9)
        self._seen = (p.seconds, p.patches)
        losses = {name: round(value, 5) for name, value in p.losses.items()}
        line = {
            "step": p.step,
            "patches": p.patches,
            "losses": losses,
            "learning_rate": self._state.schedule.get_last_lr()[0],
            "patches_per_s": round(rate, 1),
            "load": round(psutil.getloadavg()[0], 2),
            "seconds": round(p.seconds, 1),
        }
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        for name, value in losses.items():
            self._events.add_scalar(f"loss/{name}", value, p.step)
        for name in ("learning_rate", "patches_per_s"):
            self._events.add_scalar(name, line[name], p.step)

    def close(self) -> None:
        self._events.close()
