"""The scorer in two steps for a CPU: one that reads a scene, once a frame, and one that scores features.

What the first hands on is linear in what a patch shows, so that the second is little more than products of matrices.
Its network scores only the first candidates that it is given, those that can stand at the sites at all. The others
count in how far ahead of its rivals each of these is, and stand to the best of them as their Gaussian likelihoods do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemctx_core.contrast.features import FEATURES
from stemctx_core.training.model import LOWEST, TOKEN, CandidateScorer


class SceneReading(nn.Module):
    """What the network makes of a scene before it has seen a patch."""

    def __init__(self, net: CandidateScorer) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        mean: Tensor,
        whiten: Tensor,
        scale: Tensor,
        log_dose: Tensor,
        composition: Tensor,
        context: Tensor,
    ) -> Tensor:
        """(C, reading) of each candidate; inputs as of `CandidateScorer`, for one scene.

        In a row stand the first layer with the scene's modulation, (TOKEN, width), of which the last row is what is
        the same for all patches; the matrix from a residual to what the network sees of it, (K, 2 K); and last the
        factor on the Gaussian likelihood and the offset of a tuned net.
        """
        net, dose = self.net, log_dose - 2.5
        weight = net.first.weight.transpose(0, 1)
        same = dose * weight[-1] + net.first.bias
        first = torch.cat([weight[:-1], same.unsqueeze(0)]).unsqueeze(0)
        temper = net.temper(dose.unsqueeze(0))
        if net.scene is not None:
            film, warmth = net.scene(mean, scale, composition, context)
            gain, bias = film.unsqueeze(1).chunk(2, dim=-1)
            first = first * (1 + gain)
            first = torch.cat([first[:, :-1], first[:, -1:] + bias], dim=1)
            temper = temper + warmth
        else:
            first = first.expand(mean.shape[0], -1, -1)
            temper = temper.expand(mean.shape[0], -1)
        factor, offset = torch.exp(temper), torch.zeros_like(temper)
        if net.adjustment is not None:
            factor = factor * net.adjustment.factor
            offset = (composition * net.adjustment.offset).sum(-1, keepdim=True)
        plain = torch.eye(FEATURES) / scale.unsqueeze(-2)
        whitened = (whiten.transpose(-1, -2) @ whiten) * scale.unsqueeze(-2)
        seen = torch.cat([plain, whitened], dim=-1)
        return torch.cat([first.flatten(1), seen.flatten(1), factor, offset], dim=-1)


class FeatureScores(nn.Module):
    """Scores of the candidates for features."""

    def __init__(self, net: CandidateScorer) -> None:
        super().__init__()
        self.width = net.size.width
        self.correction = net.correction
        self.factor = 1.0 if net.adjustment is None else net.adjustment.factor

    def forward(
        self,
        features: Tensor,
        mean: Tensor,
        whiten: Tensor,
        log_det: Tensor,
        tempering: Tensor,
        reading: Tensor,
    ) -> Tensor:
        """(n, C) logits.

        Parameters
        ----------
        features
            (n, K).
        mean, whiten, log_det
            As of `CandidateScorer`, the candidates that the network scores first.
        tempering
            (C, 2) the last two numbers that `SceneReading` gives for each.
        reading
            (S, reading) all of them, of the S candidates that the network scores.
        """
        scored, layer = reading.shape[0], TOKEN * self.width
        first = reading[:, :layer].reshape(-1, TOKEN, self.width)
        seen = reading[:, layer : layer + 2 * FEATURES**2].reshape(-1, FEATURES, 2 * FEATURES)
        distance = features.unsqueeze(0) - mean.unsqueeze(1)
        white = distance @ whiten.transpose(-1, -2)
        likelihood = -0.5 * (white * white).sum(-1) - 0.5 * log_det.unsqueeze(-1)
        top = torch.topk(likelihood, 2, dim=0).values
        relative = torch.clamp(likelihood - top[:1], min=LOWEST)
        own = likelihood[:scored]
        rival = torch.where(own >= top[:1], top[1:], top[:1])
        ahead = torch.clamp(own - rival, min=10 * LOWEST, max=-10 * LOWEST)
        per_candidate = torch.stack(
            [torch.log1p(-relative[:scored]), _squash(ahead), torch.ones_like(ahead)], dim=-1
        )
        token = torch.cat([_squash(distance[:scored] @ seen), per_candidate], dim=-1)
        gaussian = relative * tempering[:, :1] + tempering[:, 1:]
        learned = gaussian[:scored] + self.correction(token @ first).squeeze(-1) * self.factor
        moved = learned.amax(dim=0, keepdim=True) - gaussian[:scored].amax(dim=0, keepdim=True)
        return torch.cat([learned, gaussian[scored:] + moved]).transpose(0, 1)


def _squash(value: Tensor) -> Tensor:
    """As of the model, by operators that a CPU is quick at: its own for signs is as slow as a logarithm."""
    return torch.log(torch.clamp(value + 1, min=1.0) / torch.clamp(1 - value, min=1.0))
