"""Temperatures as a function of dose, and the better of two sets of weights, both on scenes never trained on."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from stemctx_core.training.nets import Nets
from stemctx_core.training.stream import Batch

#: log10 of electrons per Å² times the reference where a temperature is fitted; linear in between.
NODES: Final = (1.5, 2.25, 3.0, 3.75, 4.5, 5.25)
_NARROWEST, _WIDEST = 0.3, 5.0
_STEPS: Final = 60


def held_out_losses(nets: Nets, batches: list[Batch]) -> dict[str, float]:
    """Mean cross-entropy of each net."""
    with torch.inference_mode():
        losses = torch.stack([nets(batch) for batch in batches]).mean(dim=0)
    return {name: round(float(loss), 5) for name, loss in zip(nets.names, losses, strict=True)}


def better_weights(nets: Nets, mean: Nets, batches: list[Batch]) -> tuple[Nets, dict[str, dict[str, float]]]:
    """For each net the weights that are better on held-out batches: as trained, or their running mean.

    Returns
    -------
    tuple
        The nets, and both losses of each by name.
    """
    trained, averaged = held_out_losses(nets, batches), held_out_losses(mean, batches)
    for name in nets.names:
        if averaged[name] < trained[name]:
            source, target = (
                (mean.scorer, nets.scorer)
                if name not in nets.baselines
                else (mean.baselines[name], nets.baselines[name])
            )
            target.load_state_dict(source.state_dict())
    return nets, {n: {"as_trained": trained[n], "running_mean": averaged[n]} for n in nets.names}


def fit_temperatures(nets: Nets, name: str, batches: list[Batch]) -> dict[str, list[float]]:
    """Nodes of the temperature of a net that minimise its negative log-likelihood.

    Returns
    -------
    dict
        ``log_dose`` and ``value`` of each node.
    """
    logits, labels, doses = [], [], []
    with torch.inference_mode():
        for batch in batches:
            scores, label = nets.logits(name, batch)
            doses.append(batch["log_dose"].expand(-1, batch["label"].shape[1]).flatten())
            logits.append(scores)
            labels.append(label)
    widest = max(scores.shape[1] for scores in logits)
    score = torch.cat([pad(s, (0, widest - s.shape[1]), value=-1e9) for s in logits]).clone()
    label, dose = torch.cat(labels).clone(), torch.cat(doses).clone()
    hats = torch.from_numpy(
        np.stack([np.interp(dose.cpu().numpy(), NODES, row) for row in np.eye(len(NODES))], axis=1)
    ).to(score)
    cold = torch.zeros(len(NODES), device=score.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([cold], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        # A little weight towards neighbouring nodes that agree, for one that hardly a scene is near.
        value = cross_entropy(score * torch.exp(-hats @ cold)[:, None], label, ignore_index=-1)
        value = value + 1e-3 * (cold.diff() ** 2).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    values = torch.exp(cold.detach()).clamp(_NARROWEST, _WIDEST)
    return {"log_dose": list(NODES), "value": [round(float(v), 4) for v in values]}
