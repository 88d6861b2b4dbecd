"""Figures with bootstrap intervals: frames or patches are drawn again, the same draw for all pairs of raters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.agreement.figures import (
    accuracy,
    cohen_kappa,
    fleiss_kappa,
    matthews,
    pabak,
    pairs_that_agree,
)
from stemctx_core.agreement.ratings import NOTHING, Table, counted
from stemctx_core.errors import InputError

#: With fewer frames an interval from frames is far too narrow.
LEAST_FRAMES: Final = 10
_BYTES: Final = 2**27
FIGURES: Final[dict[str, Callable[[NDArray[Any]], NDArray[np.float64]]]] = {
    "accuracy": accuracy,
    "kappa": cohen_kappa,
    "pabak": pabak,
    "mcc": matthews,
}


class Figure(msgspec.Struct, frozen=True):
    """A figure and its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Measured(msgspec.Struct, frozen=True):
    """How two raters agree.

    Attributes
    ----------
    sites
        Number of sites that both judged.
    accuracy, kappa, pabak, mcc
        Share of the sites where they agree, Cohen's kappa, prevalence- and bias-adjusted kappa, Matthews correlation.
    confusion
        (k, k): sites (or their weights) of each class of the first rater (row) and of the second (column).
    """

    sites: int
    accuracy: Figure
    kappa: Figure
    pabak: Figure
    mcc: Figure
    confusion: list[list[float]]


class Bootstrap:
    """Draws of a table's frames or patches, with replacement; seeded, so that it is repeatable.

    Parameters
    ----------
    unit
        ``frames`` or ``patches``; ``auto`` takes frames where there are `LEAST_FRAMES`.
    resamples, seed, coverage
        Number of draws, what they follow from, and the share of them inside an interval.
    """

    def __init__(self, table: Table, unit: str, resamples: int, seed: int, coverage: float = 0.95) -> None:
        if unit == "auto":
            unit = "frames" if len(np.unique(table.frame)) >= LEAST_FRAMES else "patches"
        if unit not in {"frames", "patches"}:
            raise InputError(f"'{unit}' cannot be drawn again. Choose frames, patches or auto.")
        self.unit = unit
        place = (
            np.arange(len(table.frame)) if unit == "patches" else np.unique(table.frame, return_inverse=True)[1]
        )
        self._place = np.asarray(place, np.int64)
        self._units = int(self._place.max()) + 1
        self._resamples, self._seed, self._coverage = resamples, seed, coverage

    def totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(draws, ...) sums over each draw of (n, ...) values of the sites."""
        of_units = np.zeros((self._units, *values.shape[1:]))
        np.add.at(of_units, self._place, values)
        flat = of_units.reshape(self._units, -1)
        rng = np.random.default_rng(self._seed)
        share = np.full(self._units, 1 / self._units)
        step = max(1, _BYTES // (8 * self._units))
        sums = [
            rng.multinomial(self._units, share, size=min(step, self._resamples - start)).astype(np.float64)
            @ flat
            for start in range(0, self._resamples, step)
        ]
        return np.concatenate(sums).reshape(self._resamples, *values.shape[1:])

    def figure(self, value: NDArray[np.float64], drawn: NDArray[np.float64]) -> Figure:
        """A value with its percentile interval; draws in which it is not defined are left out."""
        kept = drawn[np.isfinite(drawn)]
        if not np.isfinite(value):
            return Figure(None, None, None)
        if not len(kept):
            return Figure(float(value), None, None)
        tail = 50 * (1 - self._coverage)
        low, high = (float(v) for v in np.percentile(kept, [tail, 100 - tail]))
        return Figure(float(value), low, high)


def confusions(
    first: NDArray[np.int64], second: NDArray[np.int64], weight: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """(n, k, k) weight of each site at the classes of the two raters; nothing where one of them said nothing."""
    table = np.zeros((len(first), classes, classes))
    both = np.flatnonzero((first != NOTHING) & (second != NOTHING))
    table[both, first[both], second[both]] = weight[both]
    return table


def measured(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    weight: NDArray[np.float64],
    classes: int,
    draws: Bootstrap,
) -> Measured | None:
    """How two raters agree; None where they have no site in common.

    Parameters
    ----------
    weight
        (n,) of the sites; those of weight 0 do not count.
    """
    each = confusions(first, second, weight, classes)
    sites = int(np.count_nonzero(each.sum(axis=(1, 2))))
    if not sites:
        return None
    total, drawn = each.sum(axis=0), draws.totals(each)
    found = {name: draws.figure(formula(total), formula(drawn)) for name, formula in FIGURES.items()}
    return Measured(sites, **found, confusion=total.tolist())


def fleiss(table: Table, weight: NDArray[np.float64], draws: Bootstrap) -> tuple[Figure, int]:
    """Fleiss' kappa of all people over the sites that two or more of them labelled, and how many those are."""
    counts = counted(table.codes, len(table.classes))
    raters = counts.sum(axis=1)
    weight = np.where(raters >= 2, weight, 0.0)
    agree = np.nan_to_num(pairs_that_agree(counts))
    terms = weight[:, None] * np.column_stack(
        [np.ones(len(counts)), agree, counts / np.maximum(raters, 1)[:, None]]
    )
    total, drawn = terms.sum(axis=0), draws.totals(terms)
    sites = int(np.count_nonzero(weight))
    if not sites:
        return Figure(None, None, None), 0
    values = [_fleiss_of(sums) for sums in (total, drawn)]
    return draws.figure(values[0], values[1]), sites


def _fleiss_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = np.where(sums[..., :1] > 0, sums[..., :1], np.nan)
    means = sums[..., 1:] / weight
    return fleiss_kappa(means[..., 0], means[..., 1:])
