"""Figures of a tuning: of the labels, with bootstrap intervals, and of the rendered patches that must not get worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from stemctx_core.metrics import rounded
from stemctx_core.training.stream import Batch
from stemctx_core.training.tuning.tunable import Tunable

_BINS: Final = 15
_RESAMPLES: Final = 1000
#: How much worse rendered patches may become: of all of them, wrong ones more, nats, and calibration error.
_ACCURACY_LOSS: Final = 0.005
_SURPRISE_GAIN: Final = 0.01
_CALIBRATION_GAIN: Final = 0.005

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Labels as a model sees them.

    Attributes
    ----------
    surprise
        (n,) -ln p(label).
    confidence, right
        (n,) probability of the most probable candidate, and whether it is the label.
    weight
        (n,) of each label.
    group
        (n,) labels of one group are drawn together by the bootstrap.
    """

    surprise: Values
    confidence: Values
    right: NDArray[np.bool_]
    weight: Values
    group: NDArray[np.intp]

    def figures(self) -> dict[str, Any]:
        """Each figure with the middle 95 % of a bootstrap over groups."""
        drawn = self._draws()
        return {
            "labels": len(self.surprise),
            "negative_log_likelihood": _with_interval(
                self._mean(self.surprise), drawn @ self._sums(self.surprise)
            ),
            "accuracy": _with_interval(self._mean(self.right), drawn @ self._sums(self.right)),
            "calibration_error": _with_interval(
                float(self._calibration_error(np.ones(drawn.shape[1]))),
                np.array([self._calibration_error(row) for row in self._counts()]),
            ),
        }

    def gain_interval(self, after: Judged) -> dict[str, Any]:
        """Negative log-likelihood of this less that of the other, label by label."""
        gained = self.surprise - after.surprise
        return _with_interval(self._mean(gained), self._draws() @ self._sums(gained))

    def _mean(self, values: NDArray[Any]) -> float:
        return float(np.average(values, weights=self.weight))

    def _places(self) -> NDArray[np.intp]:
        return np.unique(self.group, return_inverse=True)[1]

    def _sums(self, values: NDArray[Any]) -> Values:
        sums: Values = np.bincount(self._places(), weights=self.weight * values).astype(np.float64)
        return sums

    def _counts(self) -> Values:
        """(resamples, groups) how often each group is drawn; seeded, so that it is repeatable."""
        groups = int(self._places().max()) + 1
        return (
            np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), _RESAMPLES).astype(float)
        )

    def _draws(self) -> Values:
        """(resamples, groups) factors that make a mean of sums over groups."""
        counts = self._counts()
        drawn: Values = counts / np.maximum(counts @ self._sums(np.ones(len(self.weight))), 1e-12)[:, None]
        return drawn

    def _calibration_error(self, counts: Values) -> float:
        weight = self.weight * counts[self._places()]
        return _calibration_error(self.confidence, self.right, weight)


@dataclass(frozen=True)
class Rendered:
    """Rendered patches as a model sees them, for a balanced prior."""

    patches: int
    accuracy: float
    negative_log_likelihood: float
    calibration_error: float

    def figures(self) -> dict[str, Any]:
        """For the card."""
        return {
            "patches": self.patches,
            "accuracy": rounded(self.accuracy),
            "negative_log_likelihood": rounded(self.negative_log_likelihood),
            "calibration_error": rounded(self.calibration_error),
        }

    @staticmethod
    def tolerances() -> dict[str, float]:
        """How much worse each figure may become."""
        return {
            "accuracy": _ACCURACY_LOSS,
            "negative_log_likelihood": _SURPRISE_GAIN,
            "calibration_error": _CALIBRATION_GAIN,
        }

    def worse_than(self, before: Rendered) -> list[str]:
        """What is worse by more than its tolerance, in words; nothing where the gate is passed."""
        lost = {
            "accuracy": before.accuracy - self.accuracy,
            "negative_log_likelihood": self.negative_log_likelihood - before.negative_log_likelihood,
            "calibration_error": self.calibration_error - before.calibration_error,
        }
        return [
            f"{name.replace('_', ' ')} of rendered patches {getattr(before, name):.4f} → {getattr(self, name):.4f}, "
            f"may change by {most}"
            for name, most in self.tolerances().items()
            if not lost[name] <= most
        ]


def judge_rendered(model: Tunable, batches: Sequence[Batch]) -> Rendered:
    """Let a model judge rendered patches."""
    surprise, confidence, right = [], [], []
    for batch in batches:
        with torch.no_grad():
            told = log_softmax(model.scores(batch["features"], batch), dim=-1)
        label = batch["label"]
        best = told.max(dim=-1)
        surprise.append(-told.gather(-1, label[..., None]).flatten().numpy())
        confidence.append(best.values.exp().flatten().numpy())
        right.append((best.indices == label).flatten().numpy())
    sure, hit = np.concatenate(confidence).astype(np.float64), np.concatenate(right)
    return Rendered(
        patches=len(hit),
        accuracy=float(hit.mean()),
        negative_log_likelihood=float(np.concatenate(surprise).mean(dtype=np.float64)),
        calibration_error=_calibration_error(sure, hit, np.ones(len(hit))),
    )


def _calibration_error(confidence: Values, right: NDArray[np.bool_], weight: Values) -> float:
    """Mean distance of confidence from accuracy over bins of confidence, as `metrics.expected_calibration_error`, weighted."""
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(place, weights=weight * (right - confidence), minlength=_BINS)
    return float(np.abs(gap).sum() / max(float(weight.sum()), 1e-12))


def _with_interval(value: float, drawn: Values) -> dict[str, Any]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": rounded(value), "low": rounded(float(low)), "high": rounded(float(high))}
