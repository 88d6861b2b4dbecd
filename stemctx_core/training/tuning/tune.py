"""Tuning on labelled patches: the simplest change that helps on labels it has not seen, if it forgets nothing.

Every rung of the ladder is fitted on a part of the labels and judged on the rest, whole frames or stripes of them at a
time. Of those that help, the simplest is taken whose gain is within a standard error of the best one's. Fitted on all
labels it has to pass the gate: on rendered patches of every kind that the model was made for, which are fixed and in
nothing else, it may not be worse than before by more than a stated tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from stemctx_core.errors import InputError
from stemctx_core.metrics import Estimate, clustered_mean
from stemctx_core.training.config import TrainingConfig
from stemctx_core.training.stream import HELD_OUT, Batch, training_batch
from stemctx_core.training.tuning.figures import Judged, Rendered, judge_rendered
from stemctx_core.training.tuning.fitting import Rehearsal, fit
from stemctx_core.training.tuning.labels import LabelScene, LabelSet
from stemctx_core.training.tuning.plan import TuningPlan
from stemctx_core.training.tuning.rungs import LADDER, Rung, parameters_moved
from stemctx_core.training.tuning.tunable import Tunable, log_posterior

FEWEST_LABELS: Final = 20
#: A gain of the cross-validation has to be this many of its standard errors: one chance in twenty, if it is none.
LEAST_STANDARD_ERRORS: Final = 1.645
#: Numbers of the rendered batches: those of the gate are the same for every tuning, those of rehearsal follow its seed.
_GATE: Final = HELD_OUT + 10_000_000
_REHEARSAL: Final = HELD_OUT + 20_000_000

Watch = Callable[[str], None]


class Outcome(StrEnum):
    """What became of a tuning."""

    TUNED = "tuned"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True)
class Tried:
    """A rung under cross-validation.

    Attributes
    ----------
    parameters
        Numbers that it moves.
    judged
        The labels, each by a model that was not tuned on it.
    gain
        Negative log-likelihood before less that after, nats a label, with its standard error over groups of labels.
    """

    rung: Rung
    parameters: int
    judged: Judged
    gain: Estimate

    @property
    def helps(self) -> bool:
        """Whether the gain stands out of its error."""
        return self.gain.value > LEAST_STANDARD_ERRORS * self.gain.standard_error


@dataclass(frozen=True)
class Tuning:
    """A tuning with all of its figures.

    Attributes
    ----------
    model
        The tuned one; None unless it was tuned and passed the gate.
    chosen
        Rung that it was tuned by, also where the gate refused it; None where none helps.
    before
        The labels by the model as it was.
    tried
        Every rung, from the simplest on.
    rendered_before, rendered_after
        The gate's patches; after is None where nothing was tuned.
    """

    outcome: Outcome
    model: Tunable | None
    chosen: Tried | None
    before: Judged
    tried: tuple[Tried, ...]
    rendered_before: Rendered
    rendered_after: Rendered | None

    @property
    def words(self) -> str:
        """The outcome in a sentence or two."""
        if self.chosen is None:
            return "Nothing that was tried helps on labels that it was not tuned on. The model stays as it is."
        gain = f"{self.chosen.gain.value:.4f} ± {self.chosen.gain.standard_error:.4f} nats a label"
        if self.rendered_after is not None and self.outcome is Outcome.REFUSED:
            worse = "; ".join(self.rendered_after.worse_than(self.rendered_before))
            return (
                f"Refused: '{self.chosen.rung.name}' gains {gain}, but the model would forget ({worse}). "
                "Check the labels and the imaging context that they were made in, or give more of them."
            )
        return f"'{self.chosen.rung.name}' ({self.chosen.parameters} numbers) gains {gain}, cross-validated."

    def figures(self) -> dict[str, Any]:
        """For the card."""
        after = self.chosen.judged if self.chosen else None
        return {
            "outcome": self.outcome.value,
            "chosen": self.chosen.rung.name if self.chosen else None,
            "tried": [
                {
                    "name": t.rung.name,
                    "parameters": t.parameters,
                    "gain_nats": t.gain.figures(),
                    "helps": t.helps,
                }
                for t in self.tried
            ],
            "labels_before": self.before.figures(),
            "labels_cross_validated": after.figures() if after else None,
            "gain_nats_interval": self.before.gain_interval(after) if after else None,
            "rendered_before": self.rendered_before.figures(),
            "rendered_after": self.rendered_after.figures() if self.rendered_after else None,
            "rendered_tolerances": Rendered.tolerances(),
        }


def tune(
    model: Tunable,
    labels: LabelSet,
    plan: TuningPlan,
    watch: Watch = lambda _: None,
    ladder: Sequence[Rung] = LADDER,
) -> Tuning:
    """Tune a model on labels, or find that it is better left as it is.

    Parameters
    ----------
    watch
        Told what is done next.

    Raises
    ------
    InputError
        Too few labels.
    """
    groups = np.unique(labels.fold_group)
    if len(labels) < FEWEST_LABELS or len(groups) < 2:
        raise InputError(
            f"{len(labels)} labels can be used, and {FEWEST_LABELS} are needed to tell whether tuning helps. Label more sites."
        )
    watch("rendering patches that must not be forgotten")
    gate = _rendered(plan, _GATE, plan.held_out_batches)
    first = _REHEARSAL + plan.seed % 1000 * 1_000_000
    rehearsal = Rehearsal.of(model, _rendered(plan, first, plan.rehearsal_batches))
    before = judge_labels([model], labels, np.zeros(len(labels), np.intp))
    rendered_before = judge_rendered(model, gate)
    fold = _folds(labels.fold_group, min(plan.folds, len(groups)), plan.seed)
    tried = []
    for rung in ladder:
        watch(f"cross-validating '{rung.name}'")
        tuned = [fit(model, rung, labels.only(fold != k), rehearsal, plan) for k in range(int(fold.max()) + 1)]
        judged = judge_labels(tuned, labels, fold)
        gain = clustered_mean(before.surprise - judged.surprise, labels.fold_group, before.weight)
        tried.append(Tried(rung, parameters_moved(model.net, rung), judged, gain))
    chosen = _simplest(tried, labels)
    if chosen is None:
        return Tuning(Outcome.UNCHANGED, None, None, before, tuple(tried), rendered_before, None)
    watch(f"tuning '{chosen.rung.name}' on all labels")
    tuned_model = fit(model, chosen.rung, labels.scenes, rehearsal, plan)
    after = judge_rendered(tuned_model, gate)
    passed = not after.worse_than(rendered_before)
    return Tuning(
        Outcome.TUNED if passed else Outcome.REFUSED,
        tuned_model if passed else None,
        chosen,
        before,
        tuple(tried),
        rendered_before,
        after,
    )


def judge_labels(models: Sequence[Tunable], labels: LabelSet, by: NDArray[np.intp]) -> Judged:
    """Every label by one of several models.

    Parameters
    ----------
    by
        (n,) which model judges each label.
    """
    n = len(labels)
    surprise, confidence, weight = np.zeros(n), np.zeros(n), np.ones(n)
    right = np.zeros(n, bool)
    for k, model in enumerate(models):
        for scene in labels.only(by == k):
            _judge(model, scene, surprise, confidence, right, weight)
    return Judged(surprise, confidence, right, weight, labels.fold_group)


def _judge(
    model: Tunable,
    scene: LabelScene,
    surprise: NDArray[np.float64],
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    weight: NDArray[np.float64],
) -> None:
    told = log_posterior(model, scene)
    best = told.max(dim=-1)
    surprise[scene.rows] = -told[torch.arange(len(told)), scene.label].numpy()
    confidence[scene.rows] = best.values.exp().numpy()
    right[scene.rows] = (best.indices == scene.label).numpy()
    weight[scene.rows] = scene.weight.numpy()


def _simplest(tried: Sequence[Tried], labels: LabelSet) -> Tried | None:
    """The simplest rung that helps and is within a standard error of the best."""
    helping = [t for t in tried if t.helps]
    if not helping:
        return None
    best = max(helping, key=lambda t: t.gain.value)
    for rung in helping:
        behind = clustered_mean(
            rung.judged.surprise - best.judged.surprise, labels.fold_group, best.judged.weight
        )
        if rung is best or behind.value <= behind.standard_error:
            return rung
    return best


def _folds(group: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """(n,) fold of each label: whole groups, dealt out at random to the fold that has fewest labels."""
    sizes = np.bincount(group)
    fold_of, filled = np.zeros(len(sizes), np.intp), np.zeros(folds)
    for g in np.random.default_rng(seed).permutation(len(sizes)):
        fold_of[g] = int(filled.argmin())
        filled[fold_of[g]] += sizes[g]
    dealt: NDArray[np.intp] = fold_of[group]
    return dealt


def _rendered(plan: TuningPlan, first: int, count: int) -> list[Batch]:
    drawn = TrainingConfig(scenes=plan.scenes, repeats=plan.repeats)
    return [training_batch(drawn, first + k) for k in range(count)]
