"""How what a rung moves is fitted to labels.

It is pulled three ways: towards the labels, towards what rendered patches really show (rehearsal), and towards what the
net said of them before (distillation: Hinton et al. 2015, doi:10.48550/arXiv.1503.02531; against forgetting, Li and
Hoiem 2016, doi:10.1007/978-3-319-46493-0_37). The scores stay likelihoods for a balanced prior: how often each species
is met among the labels is in the loss, and so not learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from stemctx_core.encoding.compositions import COMPOSITION_WIDTH
from stemctx_core.training.stream import Batch
from stemctx_core.training.tuning.labels import LabelScene
from stemctx_core.training.tuning.plan import TuningPlan
from stemctx_core.training.tuning.rungs import Rung
from stemctx_core.training.tuning.tunable import Tunable

#: Of what is moved: size that costs half a unit of decay.
_SIZES: Final = {"sharpness": 0.5, "offset": 0.5, "down": 1.0, "up": 1.0, "bias": 1.0}
#: The adjustment that changes nothing.
_BARE: Final = {"adjustment.factor": torch.ones(1), "adjustment.offset": torch.zeros(COMPOSITION_WIDTH)}


@dataclass(frozen=True)
class Rehearsal:
    """Rendered batches with what the net said of them before it was tuned.

    Attributes
    ----------
    told
        (scenes, n, C) logarithms of its probabilities for each batch.
    bare
        The same shape, its scores without their adjustment.
    """

    batches: Sequence[Batch]
    told: Sequence[Tensor]
    bare: Sequence[Tensor]

    @classmethod
    def of(cls, model: Tunable, batches: Sequence[Batch]) -> Rehearsal:
        """Let a model say it."""
        with torch.no_grad():
            told = [log_softmax(model.scores(b["features"], b), dim=-1) for b in batches]
            bare = [model.scores(b["features"], b, _BARE) for b in batches]
        return cls(batches, told, bare)


def fit(
    model: Tunable,
    rung: Rung,
    labels: Sequence[LabelScene],
    rehearsal: Rehearsal,
    plan: TuningPlan,
) -> Tunable:
    """A tuned copy of a model, which itself stays as it is.

    Parameters
    ----------
    labels
        What it is tuned on.
    """
    draws = torch.Generator().manual_seed(plan.seed)
    moved = rung.start(model.net, draws)
    for tensor in moved.values():
        tensor.requires_grad_(True)
    still = {name: start.detach().clone() for name, start in moved.items()}
    optimiser = torch.optim.Adam(list(moved.values()), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    scored = [_Scored.of(model, rung, s.features, s.inputs) for s in labels]
    rendered = [
        _Scored(b["features"], b, bare if rung.only_adjusts else None)
        for b, bare in zip(rehearsal.batches, rehearsal.bare, strict=True)
    ]
    count = sum(len(scene.label) for scene in labels)
    for step in range(plan.steps):
        optimiser.zero_grad()
        weights = rung.weights(model.net, moved)
        loss = _label_loss(model, weights, labels, scored, _some(labels, count, plan.patches, draws))
        at = step % len(rendered)
        loss = loss + _rehearsal_loss(
            rendered[at].scores(model, weights), rehearsal.batches[at]["label"], rehearsal.told[at], plan
        )
        away = sum((((t - still[name]) / _SIZES[name]) ** 2).sum() for name, t in moved.items())
        loss = loss + plan.decay / count * away / 2
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return model.tuned({name: w.detach() for name, w in rung.weights(model.net, moved).items()})


@dataclass(frozen=True)
class _Scored:
    """Patches to be scored; `bare` scores are there already where only the adjustment moves."""

    features: Tensor
    inputs: Mapping[str, Tensor]
    bare: Tensor | None

    @classmethod
    def of(cls, model: Tunable, rung: Rung, features: Tensor, inputs: Mapping[str, Tensor]) -> _Scored:
        with torch.no_grad():
            bare = model.scores(features, inputs, _BARE) if rung.only_adjusts else None
        return cls(features, inputs, bare)

    def only(self, chosen: Tensor) -> _Scored:
        return _Scored(self.features[chosen], self.inputs, None if self.bare is None else self.bare[chosen])

    def scores(self, model: Tunable, weights: Mapping[str, Tensor]) -> Tensor:
        if self.bare is None:
            return model.scores(self.features, self.inputs, weights)
        offset = (self.inputs["composition"] * weights["adjustment.offset"]).sum(-1).unsqueeze(-2)
        return self.bare * weights["adjustment.factor"] + offset / model.cooler(self.inputs)


def _label_loss(
    model: Tunable,
    weights: Mapping[str, Tensor],
    labels: Sequence[LabelScene],
    scored: Sequence[_Scored],
    chosen: Sequence[Tensor],
) -> Tensor:
    losses, total = torch.zeros(()), torch.zeros(())
    for scene, patches, some in zip(labels, scored, chosen, strict=True):
        if some.any():
            logits = patches.only(some).scores(model, weights) + scene.log_prior[some]
            surprise = cross_entropy(logits, scene.label[some], reduction="none")
            losses = losses + (scene.weight[some] * surprise).sum()
            total = total + scene.weight[some].sum()
    return losses / total


def _rehearsal_loss(scores: Tensor, label: Tensor, told: Tensor, plan: TuningPlan) -> Tensor:
    logits = log_softmax(scores, dim=-1)
    right = cross_entropy(logits.flatten(0, -2), label.flatten())
    far = kl_div(logits, told, reduction="none", log_target=True).sum(-1).mean()
    return plan.rehearsal * right + plan.distillation * far


def _some(labels: Sequence[LabelScene], count: int, most: int, draws: torch.Generator) -> list[Tensor]:
    """Which labels of each scene are in a step: all where there are few, else a part drawn anew."""
    taken = torch.ones(count, dtype=torch.bool)
    if count > most:
        taken[torch.randperm(count, generator=draws)[most:]] = False
    return list(torch.split(taken, [len(scene.label) for scene in labels]))
