"""Sets of candidates that hold the true one with a probability that is guaranteed, not only claimed.

Split conformal prediction: on held-out patches of known label it is counted how far down the list of candidates one
has to go. A candidate's score is the probability of all that are more probable than it (the deterministic form of
adaptive prediction sets), and a set holds every candidate whose score is at most a threshold. With the threshold at
the ⌈(n + 1) τ⌉-th smallest score of n held-out patches, a new patch that is drawn as they were has its true candidate
in the set with a probability of at least τ, whatever the model is worth.

One threshold for all patches would keep that promise with the sure ones alone: at 1e5 e/Å², where 95 % of the patches
are right anyway, the set of a site that stands 55 to 44 would be a single name. The promise is therefore kept
separately in each bin of dose and of the largest probability (Mondrian), so that it holds among the unsure sites
that a set is shown for. Thresholds on the probability itself, which give smaller sets on average, do not.

At another prior than the held-out patches were drawn with, each of them counts with the ratio of both priors for its
label, and the threshold is the weighted quantile (Tibshirani et al., NeurIPS 2019, doi:10.48550/arXiv.1904.06019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import BundleError, InputError

COVERAGES: Final = (0.90, 0.95, 0.99)
#: Edges of the largest probability of a patch, and steps of log10 of the dose, within which the promise is kept.
CONFIDENCE_EDGES: Final = (0.5, 0.7, 0.9, 0.99)
DOSE_STEP: Final = 0.5
#: A bin of fewer effective patches than this over the share that may be missed is pooled over the doses.
_FEWEST: Final = 10
_TOLERANCE: Final = 1e-9


def fit_conformal(
    posterior: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    log_dose: NDArray[np.floating[Any]],
    coverages: Sequence[float] = COVERAGES,
    weight: NDArray[np.floating[Any]] | None = None,
) -> dict[str, Any]:
    """Thresholds for a model's card, from held-out patches.

    Parameters
    ----------
    posterior
        (n, C) with the prior that the sets shall be used with; columns of zeros pad shorter candidate lists.
    label
        (n,) column of the true candidate.
    log_dose
        (n,) `EncodedScene.log_dose` of each patch.
    coverages
        Probabilities to promise.
    weight
        (n,) probability of the patch's label under the prior of the sets over that in the held-out patches; 1 where
        both are the same.

    Returns
    -------
    dict
        Ready for JSON: ``dose_edges`` (D + 1), ``confidence_edges``, and ``thresholds``, for each coverage a D × B
        list of scores.

    Raises
    ------
    InputError
        Arrays that do not fit each other, or a coverage outside 0 to 1.
    """
    n = len(posterior)
    weight = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    if n == 0 or not len(label) == len(log_dose) == len(weight) == n:
        raise InputError(
            "Prediction sets need as many labels, doses and weights as posteriors, and at least one."
        )
    if not all(0 < c < 1 for c in coverages):
        raise InputError(f"Coverages of {list(coverages)} cannot be promised. Give values between 0 and 1.")
    score = np.take_along_axis(more_probable(posterior), np.asarray(label)[:, None], axis=1)[:, 0]
    first = math.floor(float(np.min(log_dose)) / DOSE_STEP)
    last = max(first + 1, math.ceil(float(np.max(log_dose)) / DOSE_STEP))
    edges = [DOSE_STEP * k for k in range(first, last + 1)]
    dose_bin = _bin(np.asarray(log_dose, np.float64), edges[1:-1])
    confidence_bin = _bin(np.max(posterior, axis=1), CONFIDENCE_EDGES)
    thresholds: dict[str, list[list[float]]] = {}
    for coverage in coverages:
        rows = []
        for d in range(len(edges) - 1):
            row = []
            for b in range(len(CONFIDENCE_EDGES) + 1):
                pooled = confidence_bin == b
                here = pooled & (dose_bin == d)
                if _effective(weight[here]) * (1 - coverage) < _FEWEST:
                    here = pooled
                row.append(round(_threshold(score[here], weight[here], coverage), 6))
            rows.append(row)
        thresholds[f"{coverage:g}"] = rows
    return {"dose_edges": edges, "confidence_edges": list(CONFIDENCE_EDGES), "thresholds": thresholds}


@dataclass(frozen=True)
class ConformalSets:
    """Prediction sets by fitted thresholds.

    Attributes
    ----------
    table
        From `fit_conformal`; without one, sets are the most probable candidates whose probabilities add up to the
        coverage, which is right as far as the posterior is.
    """

    table: Mapping[str, Any] | None = None

    @classmethod
    def from_card(cls, card: Mapping[str, Any], prior: str = "prevalence") -> ConformalSets:
        """Of a model.

        Parameters
        ----------
        card
            Its ``conformal`` holds one table a prior, ``balanced`` and ``prevalence``; may be absent.
        prior
            Which of them.

        Raises
        ------
        BundleError
            A table that is not one.
        """
        table = card.get("conformal", {}).get(prior)
        if table is None:
            return cls()
        try:
            shape = (len(table["dose_edges"]) - 1, len(table["confidence_edges"]) + 1)
            whole = all(np.shape(rows) == shape for rows in table["thresholds"].values())
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BundleError(f"The prediction sets in the model's card cannot be read: {error!r}.") from error
        if not whole:
            raise BundleError("The prediction sets in the model's card are incomplete. Reinstall the model.")
        return cls(table)

    @property
    def guaranteed(self) -> bool:
        """Whether the coverage was fitted on held-out patches."""
        return self.table is not None

    def sets(
        self, posterior: NDArray[np.floating[Any]], log_dose: float | NDArray[np.floating[Any]], coverage: float
    ) -> NDArray[np.bool_]:
        """(n, C) whether each candidate is in the set of each site; the most probable one always is.

        Parameters
        ----------
        posterior
            (n, C).
        log_dose
            `EncodedScene.log_dose` of the frame, or (n,) of each patch; beyond the fitted doses the nearest counts.
        coverage
            Probability that the set holds the true candidate; one that was not fitted takes the next larger one's
            thresholds.
        """
        above = more_probable(posterior)
        if self.table is None:
            return above < coverage - _TOLERANCE
        fitted = sorted((float(c), rows) for c, rows in self.table["thresholds"].items())
        rows = next((r for c, r in fitted if c >= coverage - _TOLERANCE), None)
        if rows is None:
            return above < coverage - _TOLERANCE
        dose_bin = _bin(np.asarray(log_dose, np.float64), self.table["dose_edges"][1:-1])
        limits = np.array(rows)[dose_bin, _bin(posterior.max(axis=1), self.table["confidence_edges"])]
        held: NDArray[np.bool_] = above <= limits[:, None] + _TOLERANCE
        return held


def more_probable(posterior: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(n, C) probability of all candidates that are more probable than each."""
    p = np.asarray(posterior, np.float64)
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    before = np.zeros_like(p)
    np.put_along_axis(before, order, np.cumsum(ranked, axis=1) - ranked, axis=1)
    return before


def _bin(values: NDArray[np.floating[Any]], edges: Sequence[float]) -> NDArray[np.intp]:
    return np.searchsorted(np.asarray(edges, np.float64), values, side="right")


def _effective(weight: NDArray[np.float64]) -> float:
    """Number of equally weighted patches that say as much."""
    total = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / total if total > 0 else 0.0


def _threshold(score: NDArray[np.float64], weight: NDArray[np.float64], coverage: float) -> float:
    """Weighted quantile, with the new patch counted as a miss of the largest weight; 1 where that is too much."""
    if not len(score):
        return coverage
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order]) / (float(np.sum(weight)) + float(np.max(weight)))
    place = int(np.searchsorted(reached, coverage))
    return float(score[order[place]]) if place < len(score) else 1.0
