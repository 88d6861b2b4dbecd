"""What tuning may move, from one number to a low-rank change of the scene encoder."""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor

from stemctx_core.encoding.compositions import COMPOSITION_WIDTH
from stemctx_core.training.model import CandidateScorer

#: Rank of the change of the layer that modulates the scorer for each candidate and scene (Hu et al. 2021, LoRA,
#: doi:10.48550/arXiv.2106.09685).
_RANK: Final = 4
_DOWN_SD: Final = 0.1

Moved = dict[str, Tensor]


class Rung(Protocol):
    """One step of the ladder of what may be moved."""

    @property
    def name(self) -> str:
        """In the card."""

    @property
    def only_adjusts(self) -> bool:
        """Whether the net below the adjustment stays, so that its scores need to be computed only once."""

    def start(self, net: CandidateScorer, draws: torch.Generator) -> Moved:
        """What is moved, at a place where it changes nothing."""

    def weights(self, net: CandidateScorer, moved: Moved) -> dict[str, Tensor]:
        """Weights of the net, by name, where they differ from its own."""


class Sharpness:
    """One factor on all scores: how sure the model is."""

    name = "sharpness"
    only_adjusts = True

    def start(self, net: CandidateScorer, draws: torch.Generator) -> Moved:
        """The logarithm of the factor."""
        return {"sharpness": torch.zeros(1)}

    def weights(self, net: CandidateScorer, moved: Moved) -> dict[str, Tensor]:
        """Of the adjustment alone; what tuning set before stays a part of it."""
        assert net.adjustment is not None
        factor = torch.exp(moved["sharpness"])
        return {
            "adjustment.factor": net.adjustment.factor.detach() * factor,
            "adjustment.offset": net.adjustment.offset.detach() * factor,
        }


class Offsets(Sharpness):
    """Also an offset for each candidate, linear in what stands in its column."""

    name = "offsets"

    def start(self, net: CandidateScorer, draws: torch.Generator) -> Moved:
        """The factor and a number for each of the composition's."""
        return {**super().start(net, draws), "offset": torch.zeros(COMPOSITION_WIDTH)}

    def weights(self, net: CandidateScorer, moved: Moved) -> dict[str, Tensor]:
        """Of the adjustment alone."""
        weights = super().weights(net, moved)
        return {**weights, "adjustment.offset": weights["adjustment.offset"] + moved["offset"]}


class Scene(Offsets):
    """Also a low-rank change of how candidates and context modulate the scorer, so that it may differ by condition."""

    name = "scene"
    only_adjusts = False

    def start(self, net: CandidateScorer, draws: torch.Generator) -> Moved:
        """Two thin matrices, of which the second is zero, and a change of the bias."""
        assert net.scene is not None
        film = net.scene.film
        return {
            **super().start(net, draws),
            "down": torch.randn(_RANK, film.in_features, generator=draws) * _DOWN_SD,
            "up": torch.zeros(film.out_features, _RANK),
            "bias": torch.zeros(film.out_features),
        }

    def weights(self, net: CandidateScorer, moved: Moved) -> dict[str, Tensor]:
        """Of the adjustment and of the scene encoder's last layer."""
        assert net.scene is not None
        film = net.scene.film
        return {
            **super().weights(net, moved),
            "scene.film.weight": film.weight.detach() + moved["up"] @ moved["down"],
            "scene.film.bias": film.bias.detach() + moved["bias"],
        }


#: From the simplest on.
LADDER: Final[tuple[Rung, ...]] = (Sharpness(), Offsets(), Scene())


def parameters_moved(net: CandidateScorer, rung: Rung) -> int:
    """How many numbers a rung moves."""
    return sum(t.numel() for t in rung.start(net, torch.Generator()).values())
