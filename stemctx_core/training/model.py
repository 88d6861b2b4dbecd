"""The candidate-scoring net: one small network, shared by all candidates, over whitened physics residuals."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemctx_core.features import FEATURES, projection

#: Log-likelihood differences are cut here; beyond it a candidate is out of the question.
_LOWEST = -60.0


class CandidateScorer(nn.Module):
    """Scores of candidates for patches.

    The score of a candidate is its Gaussian log-likelihood under the predicted mean and covariance, tempered by a
    factor that depends on dose, plus a correction by a network that sees the same residuals and learns what the
    linearised covariance leaves out (neighbouring defects are a mixture, displacements are not linear).

    Parameters
    ----------
    width
        Units in each hidden layer.
    """

    projection: Tensor

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("projection", torch.from_numpy(projection().T.astype("float32")))
        self.correction = nn.Sequential(
            nn.Linear(2 * FEATURES + 3, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 1),
        )
        self.temper = nn.Sequential(nn.Linear(1, 16), nn.GELU(), nn.Linear(16, 1))
        for last in (self.correction[-1], self.temper[-1]):
            nn.init.normal_(last.get_parameter("weight"), std=0.01)
            nn.init.zeros_(last.get_parameter("bias"))

    def forward(
        self, patches: Tensor, mean: Tensor, whiten: Tensor, log_det: Tensor, scale: Tensor, log_dose: Tensor
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

        Returns
        -------
        torch.Tensor
            (..., n, C).
        """
        features = patches @ self.projection
        distance = features.unsqueeze(-3) - mean.unsqueeze(-2)
        white = distance @ whiten.transpose(-1, -2)
        likelihood = -0.5 * (white * white).sum(-1) - 0.5 * log_det.unsqueeze(-1)
        likelihood = likelihood.transpose(-1, -2)
        top = torch.topk(likelihood, 2, dim=-1).values
        relative = torch.clamp(likelihood - top[..., :1], min=_LOWEST)
        rival = torch.where(likelihood >= top[..., :1], top[..., 1:2], top[..., :1])
        ahead = torch.clamp(likelihood - rival, min=10 * _LOWEST, max=-10 * _LOWEST)
        plain = _squash(distance / scale.unsqueeze(-2))
        whitened = _squash((white @ whiten) * scale.unsqueeze(-2))
        dose = (log_dose - 2.5).unsqueeze(-2)
        per_candidate = torch.stack(
            [torch.log1p(-relative), _squash(ahead), dose.expand(relative.shape)], dim=-1
        ).transpose(-2, -3)
        correction = self.correction(torch.cat([plain, whitened, per_candidate], dim=-1))
        tempered = torch.exp(self.temper(dose)) * relative
        logits: Tensor = tempered + correction.squeeze(-1).transpose(-1, -2)
        return logits


def _squash(value: Tensor) -> Tensor:
    """Logarithm on both sides of zero; unlike asinh it exports to every runtime."""
    return torch.sign(value) * torch.log1p(value.abs())
