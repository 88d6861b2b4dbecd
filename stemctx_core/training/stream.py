"""Batches of a training: rendered and encoded while it runs, each a pure function of the seed and its number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from stemctx_core.chemistry.species import species_mask, species_rows
from stemctx_core.contrast.features import projection
from stemctx_core.dataset.groups import Group, hide, make_group, tell
from stemctx_core.dataset.truth import random_candidates, random_case, random_shape, random_truth
from stemctx_core.simulation.library import shipped_library
from stemctx_core.training.config import TrainingConfig

#: Batches from this number on are never trained on.
HELD_OUT: Final = 1_000_000_000
_OUTER_LIMIT_MRAD: Final = 235.0
#: glibc gives large arrays back to the system at once, and gets them again page by page: a fifth of a worker's time.
_KEEP_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}

#: Graph inputs by name, with ``features``, ``label``, ``species`` (of each candidate) and ``listed``.
Batch = dict[str, Tensor]


def training_batch(config: TrainingConfig, number: int) -> Batch:
    """One batch; every scene of it has as many candidates as the others."""
    library = shipped_library()
    rng = np.random.default_rng([config.seed, number])
    shape = random_shape(rng, library)
    groups = []
    for _ in range(config.scenes):
        case = random_case(rng, shape.dopants, _OUTER_LIMIT_MRAD, library)
        truth = random_truth(rng, case, random_candidates(rng, case, shape))
        told = hide(tell(truth, rng), truth, rng)
        groups.append(make_group(library, truth, config.repeats, rng, told=told, only_features=True))
    return collate(groups)


def collate(groups: list[Group]) -> Batch:
    """Stack groups along a new first axis."""
    weights = projection().T.astype(np.float32)
    names = groups[0].encoded.inputs()
    arrays = {name: [g.encoded.inputs()[name] for g in groups] for name in names}
    arrays["features"] = [g.patches @ weights for g in groups]
    arrays["listed"] = [species_mask(g.scene.candidates) for g in groups]
    batch = {name: torch.from_numpy(np.stack(values)) for name, values in arrays.items()}
    batch["label"] = torch.from_numpy(np.stack([g.label for g in groups]))
    batch["species"] = torch.from_numpy(np.stack([species_rows(g.scene.candidates) for g in groups]))
    return batch


class BatchStream(IterableDataset[Batch]):
    """The batches of one process of a training from a step on, in order."""

    def __init__(
        self, config: TrainingConfig, steps: int, first_step: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.config, self.steps, self.first_step = config, steps, first_step
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this worker; the loader takes the workers in turn."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for step in range(self.first_step + worker, self.steps, workers):
            yield training_batch(self.config, step * self.world + self.rank)


def loader(stream: BatchStream, workers: int) -> DataLoader[Batch]:
    """The stream over worker processes, started afresh so that no thread is forked."""
    if workers == 0:
        return DataLoader(stream, batch_size=None)
    for name, value in _KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        multiprocessing_context="spawn",
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    import numba
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(1)
    numba.set_num_threads(1)
