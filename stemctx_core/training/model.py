"""The candidate-scoring net: one small network, shared by all candidates, over whitened physics residuals.

What is known of a scene is read once: tokens of the candidates and of the context attend to each other, and what
comes out for a candidate modulates the network that scores its residuals in every patch (FiLM: Perez et al., AAAI
2018). A patch costs the same however much context there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stemctx_core.contrast.features import FEATURES, projection
from stemctx_core.encoding.compositions import COMPOSITION_WIDTH, CONTEXT_WIDTH

#: Log-likelihood differences are cut here; beyond it a candidate is out of the question.
LOWEST = -60.0
#: Length of what the network sees of a candidate in a patch: residuals, whitened residuals, and three numbers of its
#: likelihood.
TOKEN = 2 * FEATURES + 3


@dataclass(frozen=True)
class ScorerSize:
    """Size of the net.

    Attributes
    ----------
    width
        Units in each hidden layer of the scorer.
    token
        Length of a token of the scene; 0 for no scene encoder at all.
    layers
        Attention layers; with none, each candidate sees the context but not the other candidates.
    heads
        Of the attention.
    """

    width: int = 64
    token: int = 48
    layers: int = 2
    heads: int = 4


class CandidateScorer(nn.Module):
    """Scores of candidates for patches.

    The score of a candidate is its Gaussian log-likelihood under the predicted mean and covariance, tempered by a
    factor that depends on dose and candidate, plus a correction by a network that sees the same residuals and learns
    what the linearised covariance leaves out (neighbouring defects are a mixture, displacements are not linear).
    """

    projection: Tensor

    def __init__(self, size: ScorerSize | None = None) -> None:
        super().__init__()
        self.size = size or ScorerSize()
        width = self.size.width
        self.register_buffer("projection", torch.from_numpy(projection().T.astype("float32")))
        self.first = nn.Linear(TOKEN, width)
        self.correction = nn.Sequential(
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 1),
        )
        self.temper = nn.Sequential(nn.Linear(1, 16), nn.GELU(), nn.Linear(16, 1))
        self.scene = SceneEncoder(self.size) if self.size.token else None
        self.adjustment: Adjustment | None = None
        self.working = torch.float32
        for last in (self.correction[-1], self.temper[-1]):
            nn.init.normal_(last.get_parameter("weight"), std=0.01)
            nn.init.zeros_(last.get_parameter("bias"))

    def forward(
        self,
        patches: Tensor,
        mean: Tensor,
        whiten: Tensor,
        log_det: Tensor,
        scale: Tensor,
        log_dose: Tensor,
        composition: Tensor,
        context: Tensor,
    ) -> Tensor:
        """Logits of the candidates, for a balanced prior.

        Parameters
        ----------
        patches
            (..., n, samples).
        mean, scale
            (..., C, K).
        whiten
            (..., C, K, K).
        log_det
            (..., C).
        log_dose
            (..., 1).
        composition
            (..., C, COMPOSITION_WIDTH).
        context
            (..., CONTEXT_WIDTH).

        Returns
        -------
        torch.Tensor
            (..., n, C).
        """
        features = patches @ self.projection
        return self.score(features, mean, whiten, log_det, scale, log_dose, composition, context)

    def score(
        self,
        features: Tensor,
        mean: Tensor,
        whiten: Tensor,
        log_det: Tensor,
        scale: Tensor,
        log_dose: Tensor,
        composition: Tensor,
        context: Tensor,
    ) -> Tensor:
        """The same for patches that are given as their features, (..., n, K)."""
        distance = features.unsqueeze(-3) - mean.unsqueeze(-2)
        white = distance @ whiten.transpose(-1, -2)
        likelihood = -0.5 * (white * white).sum(-1) - 0.5 * log_det.unsqueeze(-1)
        likelihood = likelihood.transpose(-1, -2)
        top = torch.topk(likelihood, 2, dim=-1).values
        relative = torch.clamp(likelihood - top[..., :1], min=LOWEST)
        rival = torch.where(likelihood >= top[..., :1], top[..., 1:2], top[..., :1])
        ahead = torch.clamp(likelihood - rival, min=10 * LOWEST, max=-10 * LOWEST)
        plain = _squash(distance / scale.unsqueeze(-2))
        whitened = _squash((white @ whiten) * scale.unsqueeze(-2))
        dose = (log_dose - 2.5).unsqueeze(-2)
        per_candidate = torch.stack(
            [torch.log1p(-relative), _squash(ahead), dose.expand(relative.shape)], dim=-1
        ).transpose(-2, -3)
        token = torch.cat([plain, whitened, per_candidate], dim=-1).to(self.working)
        hidden = self.first(token)
        temper = self.temper(dose)
        if self.scene is not None:
            film, warmth = self.scene(mean, scale, composition, context)
            gain, bias = film.to(self.working).unsqueeze(-2).chunk(2, dim=-1)
            hidden = hidden * (1 + gain) + bias
            temper = temper + warmth.transpose(-1, -2)
        correction = self.correction(hidden).to(torch.float32)
        logits: Tensor = torch.exp(temper) * relative + correction.squeeze(-1).transpose(-1, -2)
        return logits if self.adjustment is None else self.adjustment(logits, composition)

    def adjustable(self) -> CandidateScorer:
        """A copy with an `Adjustment`, which changes nothing as long as nobody sets it; its own where it has one."""
        copy = CandidateScorer(self.size)
        copy.adjustment = Adjustment()
        copy.load_state_dict({**copy.adjustment.state_dict(prefix="adjustment."), **self.state_dict()})
        return copy.eval()

    def halved(self) -> CandidateScorer:
        """A copy whose scoring network works in half precision; likelihoods and the scene stay in single."""
        copy = CandidateScorer(self.size)
        copy.adjustment = Adjustment() if self.adjustment is not None else None
        copy.load_state_dict(self.state_dict())
        copy.first.half()
        copy.correction.half()
        copy.working = torch.float16
        return copy.eval()

    @property
    def per_patch_parameters(self) -> int:
        """Parameters that work on every patch."""
        return parameters([self.first, self.correction])


class Adjustment(nn.Module):
    """What tuning on labelled patches puts on the scores: one factor on all, and an offset by what a candidate is."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.zeros(COMPOSITION_WIDTH))

    def forward(self, logits: Tensor, composition: Tensor) -> Tensor:
        """(..., n, C) logits to the same; composition is (..., C, COMPOSITION_WIDTH)."""
        return logits * self.factor + (composition * self.offset).sum(-1).unsqueeze(-2)


class SceneEncoder(nn.Module):
    """Candidates and context to a modulation of the scorer for each candidate."""

    def __init__(self, size: ScorerSize) -> None:
        super().__init__()
        d = size.token
        self.candidate = nn.Sequential(
            nn.Linear(COMPOSITION_WIDTH + 2 * FEATURES, d), nn.GELU(), nn.Linear(d, d)
        )
        self.context = nn.Sequential(nn.Linear(CONTEXT_WIDTH, d), nn.GELU(), nn.Linear(d, d))
        self.layers = nn.ModuleList(AttentionLayer(d, size.heads) for _ in range(size.layers))
        self.mix = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU())
        self.film = nn.Linear(d, 2 * size.width + 1)
        nn.init.normal_(self.film.weight, std=0.01)
        nn.init.zeros_(self.film.bias)

    def forward(
        self, mean: Tensor, scale: Tensor, composition: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(..., C, 2 width) gain and bias of the first hidden layer, and (..., C, 1) of the tempering."""
        told = torch.cat([composition, 3 * mean, torch.log10(scale) + 2], dim=-1)
        known = self.context(context).unsqueeze(-2)
        tokens = self.candidate(told) + known
        if len(self.layers):
            tokens = torch.cat([tokens, known], dim=-2)
            for layer in self.layers:
                tokens = layer(tokens)
            tokens = tokens[..., :-1, :]
        film, warmth = torch.split(self.film(self.mix(tokens)), [self.film.out_features - 1, 1], dim=-1)
        return film, warmth


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward step, both normalised before (Xiong et al., ICML 2020)."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads, self.share = heads, d // heads
        self.before, self.between = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.step = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., tokens, d) to the same."""
        plain = self.before(tokens)
        query, key, value = (self._split(m(plain)) for m in (self.query, self.key, self.value))
        weight = torch.softmax(query @ key.transpose(-1, -2) * self.share**-0.5, dim=-1)
        heard = (weight @ value).transpose(-2, -3).flatten(-2)
        tokens = tokens + self.out(heard)
        result: Tensor = tokens + self.step(self.between(tokens))
        return result

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:-1], self.heads, self.share).transpose(-2, -3)


def parameters(modules: Sequence[nn.Module]) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for m in modules for p in m.parameters())


def _squash(value: Tensor) -> Tensor:
    """Logarithm on both sides of zero; unlike asinh it exports to every runtime."""
    return torch.sign(value) * torch.log1p(value.abs())
