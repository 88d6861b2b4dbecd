"""The nets that are trained together on the same batches, and their losses."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stemctx_core.training.config import TrainingConfig
from stemctx_core.training.model import CandidateScorer, ScorerSize
from stemctx_core.training.paper_form import LEVELS, PaperForm
from stemctx_core.training.stream import Batch

SCORER: Final = "scorer"
#: Names of the scorer's inputs beside the features.
SCENE_INPUTS: Final = ("mean", "whiten", "log_det", "scale", "log_dose", "composition", "context")


class Nets(nn.Module):
    """The scorer and, where they are asked for, the baselines, none of which shares a weight with another."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        scorer = CandidateScorer(ScorerSize(config.width, config.token, config.layers, config.heads))
        self.scorer = scorer
        size = scorer.per_patch_parameters
        self.baselines = nn.ModuleDict(
            {level: PaperForm(level, size) for level in LEVELS} if config.baselines else {}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The scorer and the baselines."""
        return (SCORER, *self.baselines)

    def logits(self, name: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """(patches, outputs) logits of a net and (patches,) labels, -1 where the net has no output for it."""
        if name == SCORER:
            logits = self.scorer.score(batch["features"], *(batch[n] for n in SCENE_INPUTS))
            return logits.flatten(0, -2), batch["label"].flatten()
        net: PaperForm = self.baselines[name]  # type: ignore[assignment]
        logits = net.score(batch["features"], batch["context"], batch["listed"])
        label = torch.gather(batch["species"], 1, batch["label"])
        return logits.flatten(0, -2), label.flatten()

    def forward(self, batch: Batch) -> Tensor:
        """(nets,) mean cross-entropy of each net, in the order of `names`."""
        return torch.stack([cross_entropy(*self.logits(name, batch), ignore_index=-1) for name in self.names])

    def parts(self) -> list[list[nn.Parameter]]:
        """Parameters of each net, in the order of `names`."""
        return [list(m.parameters()) for m in (self.scorer, *self.baselines.values())]
