"""A net that can be tuned, with the temperatures that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import log_softmax

from stemctx_core.training.model import CandidateScorer
from stemctx_core.training.nets import SCENE_INPUTS
from stemctx_core.training.tuning.labels import LabelScene


@dataclass(frozen=True)
class Tunable:
    """A net with the temperatures that its scores are divided by before they are probabilities.

    Attributes
    ----------
    net
        With an adjustment.
    temperature
        Nodes as in a card.
    """

    net: CandidateScorer
    temperature: dict[str, list[float]]

    def scores(
        self, features: Tensor, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """(..., n, C) log-likelihoods up to a constant, with some weights taken for others."""
        named = {f"net.{name}": value for name, value in (weights or {}).items()}
        told = (features, *(inputs[name] for name in SCENE_INPUTS))
        logits: Tensor = functional_call(_Scoring(self.net), named, told)
        return logits / self.cooler(inputs)

    def cooler(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(..., 1, 1) temperature of each scene."""
        nodes = self.temperature
        values = np.interp(inputs["log_dose"].numpy(), nodes["log_dose"], nodes["value"])
        return torch.from_numpy(values).float().unsqueeze(-1)

    def tuned(self, weights: Mapping[str, Tensor]) -> Tunable:
        """A copy with some weights of its own."""
        net = self.net.adjustable()
        with torch.no_grad():
            net.load_state_dict({**self.net.state_dict(), **weights})
        return Tunable(net, self.temperature)


class _Scoring(nn.Module):
    """The scorer by its features, as a module that can be called with other weights."""

    def __init__(self, net: CandidateScorer) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor, *scene: Tensor) -> Tensor:
        return self.net.score(features, *scene)


def log_posterior(model: Tunable, scene: LabelScene) -> Tensor:
    """(n, C) at the labels' prior."""
    with torch.no_grad():
        return log_softmax(model.scores(scene.features, scene.inputs) + scene.log_prior, dim=-1)
