"""Scenes to posteriors, in this process or in several; finished blocks are kept on disk."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.classifier.engine import OnnxRuntimeEngine
from stemctx_core.contrast.features import projection
from stemctx_core.dataset.groups import Group
from stemctx_core.evaluation.cache import Arrays, Cache
from stemctx_core.evaluation.less_context import LessContext
from stemctx_core.evaluation.scenes import (
    BACKGROUND,
    SIGMA_ANGSTROM,
    UNKNOWN_GAIN,
    Job,
    Mode,
    draw_group,
    first_repeats,
    part_of,
)
from stemctx_core.simulation.library import ResponseLibrary, shipped_library

#: Scenes that are stored together, and that one process takes at a time.
_BLOCK: Final = 96
_PIECE: Final = 6
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Task:
    """What is wanted of each scene beyond the scorer's and the bare predictions' answer.

    Attributes
    ----------
    few
        Only the patches that the Bayes reference judges.
    reference
        The Bayes posterior of those, and nothing that depends on a model.
    less_context
        Figures of the models that are told less.
    residuals
        The scorer's whitened residuals, squashed, for the map of patches.
    """

    few: bool = False
    reference: bool = False
    less_context: bool = False
    residuals: bool = False


class Judge:
    """Everything that judges the patches of a scene.

    Parameters
    ----------
    bundle
        Folder of the scorer; the shipped one where None.
    """

    def __init__(self, bundle: Path | None) -> None:
        loaded = load_bundle(bundle)
        self.classifier = Classifier(loaded, OnnxRuntimeEngine(loaded.onnx_bytes, threads=1))
        self.library: ResponseLibrary = shipped_library()
        self.less_context = LessContext.beside(bundle)

    def judge(self, job: Job, task: Task) -> Arrays:
        """Arrays of one scene's patches: scene, label, log_dose, learned, physics, and what the task adds."""
        group = draw_group(self.library, job)
        if task.few or task.reference:
            group = part_of(group, first_repeats(group, job.reference_repeats))
        if task.reference:
            return {"bayes": _reference(group, self.library, job.mode)}
        n = len(group.label)
        judged: Arrays = {
            "scene": np.full(n, job.scene, np.int32),
            "label": group.label.astype(np.int16),
            "log_dose": np.full(n, float(group.encoded.log_dose[0]), np.float32),
            "learned": self.classifier.log_likelihood(group.patches, group.encoded).astype(np.float32),
            "physics": physics_log_likelihood(group),
        }
        if task.less_context:
            judged |= self.less_context.figures(group)
        if task.residuals:
            judged["residuals"] = squashed_residuals(group)
        return judged


def physics_log_likelihood(group: Group) -> NDArray[np.float32]:
    """Gaussian log-likelihood of the predictions alone, without the trained correction."""
    white = _white(group)
    likelihood: NDArray[np.float32] = -0.5 * np.sum(white**2, axis=-1) - 0.5 * group.encoded.log_det
    return likelihood


def squashed_residuals(group: Group) -> NDArray[np.float32]:
    """(n, C · FEATURES) sign(r) ln(1 + |r|) of the whitened residuals r, which is what the scorer sees."""
    white = _white(group)
    flat: NDArray[np.float32] = (np.sign(white) * np.log1p(np.abs(white))).reshape(len(white), -1)
    return flat


def _white(group: Group) -> NDArray[np.float32]:
    features = group.patches @ projection().T.astype(np.float32)
    white: NDArray[np.float32] = np.einsum(
        "ckj,ncj->nck", group.encoded.whiten, features[:, None] - group.encoded.mean, optimize=True
    )
    return white


def _reference(group: Group, library: ResponseLibrary, mode: Mode) -> NDArray[np.float32]:
    from stemctx_core.bayes.knowledge import unknown_in_patch
    from stemctx_core.bayes.reference import exact_log_posterior

    known = None
    if mode is Mode.UNKNOWN:
        known = unknown_in_patch(group.scene, SIGMA_ANGSTROM, BACKGROUND, UNKNOWN_GAIN)
    return np.asarray(exact_log_posterior(group, library, known), np.float32)


@dataclass
class Bench:
    """Runs jobs over processes and remembers what is done.

    Attributes
    ----------
    cache
        Of what depends on the model.
    lasting
        Of the Bayes posterior, which does not, and which costs most.
    pool
        Processes; None judges in this one.
    """

    bundle: Path | None
    cache: Cache
    lasting: Cache
    pool: ProcessPoolExecutor | None = None
    _own: list[Judge] = field(default_factory=list)

    @property
    def judge(self) -> Judge:
        """The judge of this process, made when first asked for."""
        if not self._own:
            self._own.append(Judge(self.bundle))
        return self._own[0]

    def run(self, name: str, jobs: Sequence[Job], task: Task, advance: Advance) -> Arrays:
        """Judge all jobs.

        Parameters
        ----------
        name
            Of the result on disk.
        advance
            Told how many scenes were finished.

        Returns
        -------
        dict
            Arrays of all patches, in the order of the jobs whatever the number of processes.
        """
        cache = self.lasting if task.reference else self.cache
        blocks = []
        for start in range(0, len(jobs), _BLOCK):
            block = jobs[start : start + _BLOCK]
            stored = cache.load(f"{name}-{start}")
            if stored is None:
                stored = cache.store(f"{name}-{start}", joined(self._judged(block, task, advance)))
            else:
                advance(len(block))
            blocks.append(stored)
        return joined(blocks)

    def _judged(self, jobs: Sequence[Job], task: Task, advance: Advance) -> Iterator[Arrays]:
        pieces = [(jobs[i : i + _PIECE], task) for i in range(0, len(jobs), _PIECE)]
        if self.pool is None:
            results: Iterator[Arrays] = (_judge_piece(self.judge, *p) for p in pieces)
        else:
            results = iter(self.pool.map(_in_worker, pieces))
        for (piece, _), result in zip(pieces, results, strict=True):
            advance(len(piece))
            yield result


@contextmanager
def bench(bundle: Path | None, cache: Cache, lasting: Cache, workers: int) -> Iterator[Bench]:
    """A bench whose processes end with the block."""
    if workers < 2:
        yield Bench(bundle, cache, lasting)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(bundle,)
    ) as pool:
        yield Bench(bundle, cache, lasting, pool)


def joined(parts: Any) -> Arrays:
    """One after the other, array by array."""
    listed = list(parts)
    return {k: np.concatenate([p[k] for p in listed]) for k in listed[0]} if listed else {}


_WORKER: list[Judge] = []


def _start_worker(bundle: Path | None) -> None:
    _WORKER.append(Judge(bundle))


def _in_worker(piece: tuple[Sequence[Job], Task]) -> Arrays:
    return _judge_piece(_WORKER[0], *piece)


def _judge_piece(judge: Judge, jobs: Sequence[Job], task: Task) -> Arrays:
    return joined([judge.judge(job, task) for job in jobs])
