"""The paper's own form of the classifier, trained beside the scorer to compare with, at four levels of information.

The contrast features of the calibrated patch attend to tokens of what is known (shells of the host, energy, detector,
dose, candidates), are concatenated with them, and a small network gives one output per species of a fixed list.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from stemctx_core.chemistry.species import SPECIES
from stemctx_core.contrast.features import FEATURES, projection
from stemctx_core.encoding.compositions import CONTEXT_PARTS, context_slice
from stemctx_core.training.model import parameters

#: What each level knows: parts of the context vector; the last also knows the candidate list.
LEVELS: Final = {
    "image": ("dose",),
    "condition": ("dose", "high_tension", "convergence", "detector"),
    "host": ("dose", "high_tension", "convergence", "detector", "metal", "chalcogen", "lattice", "ratio"),
    "candidates": ("dose", "high_tension", "convergence", "detector", "metal", "chalcogen", "lattice", "ratio"),
}
_TOKEN: Final = 16
#: Log-probability of a species that is not a candidate.
_RULED_OUT: Final = -1e4


class PaperForm(nn.Module):
    """One level.

    Parameters
    ----------
    level
        Key of `LEVELS`.
    size
        Number of parameters to come close to; the hidden layers are made as wide as that allows.
    """

    projection: Tensor

    def __init__(self, level: str, size: int) -> None:
        super().__init__()
        self.parts = LEVELS[level]
        self.listed = level == "candidates"
        self.register_buffer("projection", torch.from_numpy(projection().T.astype("float32")))
        widths = [CONTEXT_PARTS[p] for p in self.parts] + ([len(SPECIES)] if self.listed else [])
        self.tokens = nn.ModuleList(nn.Linear(w, _TOKEN) for w in widths)
        self.query = nn.Linear(FEATURES, _TOKEN)
        self.key, self.value = nn.Linear(_TOKEN, _TOKEN), nn.Linear(_TOKEN, _TOKEN)
        fixed = parameters([self])
        joined = FEATURES + _TOKEN * (1 + len(widths))
        width = 8
        while fixed + _head_size(joined, width + 1) <= size:
            width += 1
        self.head = nn.Sequential(
            nn.Linear(joined, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(SPECIES)),
        )  # fmt: skip

    def forward(self, patches: Tensor, context: Tensor, listed: Tensor | None = None) -> Tensor:
        """Logits of the species.

        Parameters
        ----------
        patches
            (..., n, samples).
        context
            (..., CONTEXT_WIDTH).
        listed
            (..., SPECIES) 1 for the candidates; of the last level only.
        """
        return self.score(patches @ self.projection, context, listed)

    def score(self, features: Tensor, context: Tensor, listed: Tensor | None = None) -> Tensor:
        """The same for patches that are given as their features, (..., n, K)."""
        known = [context[..., context_slice(p)] for p in self.parts]
        if self.listed and listed is not None:
            known.append(listed)
        tokens = torch.stack([layer(k) for layer, k in zip(self.tokens, known, strict=True)], dim=-2)
        query, key, value = self.query(features), self.key(tokens), self.value(tokens)
        weight = torch.softmax(query @ key.transpose(-1, -2) * _TOKEN**-0.5, dim=-1)
        flat = tokens.flatten(-2).unsqueeze(-2)
        flat = flat.expand(*features.shape[:-1], flat.shape[-1])
        logits: Tensor = self.head(torch.cat([features, weight @ value, flat], dim=-1))
        if self.listed and listed is not None:
            logits = logits + (1 - listed).unsqueeze(-2) * _RULED_OUT
        return logits


def _head_size(joined: int, width: int) -> int:
    return (joined + 1) * width + 2 * (width + 1) * width + (width + 1) * len(SPECIES)
