"""Which of several training processes this is: one, unless ``torchrun`` started it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Processes:
    """One process of a training.

    Attributes
    ----------
    rank, world
        Number of this process, and how many there are.
    device
        What it computes on.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that the environment names, each on a GPU of its own where there are any."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if world == 1:
        yield Processes(device=device)
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), world, device)
    finally:
        torch.distributed.destroy_process_group()
