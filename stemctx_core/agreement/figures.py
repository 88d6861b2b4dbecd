"""Figures of agreement of two raters from their confusion matrix, and of several raters from their counts.

All take leading axes, so that a whole bootstrap is one call. A figure that is not defined, as where both raters used
one and the same class throughout, is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def accuracy(confusion: NDArray[Any]) -> Values:
    """(...) observed agreement p_o of (..., k, k) weights of one rater's classes (rows) and the other's."""
    table = np.asarray(confusion, np.float64)
    return _ratio(np.trace(table, axis1=-2, axis2=-1), table.sum(axis=(-2, -1)))


def cohen_kappa(confusion: NDArray[Any]) -> Values:
    """(...) (p_o - p_e)/(1 - p_e), with p_e what both raters' own frequencies give by chance.

    J. Cohen, Educ. Psychol. Meas. 20, 37 (1960).
    """
    table = np.asarray(confusion, np.float64)
    total = table.sum(axis=(-2, -1))
    chance = _ratio((table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1), total**2)
    return _beyond(accuracy(table), chance)


def pabak(confusion: NDArray[Any]) -> Values:
    """(...) prevalence- and bias-adjusted kappa (k p_o - 1)/(k - 1): chance is 1/k for each of k classes.

    T. Byrt, J. Bishop, J. B. Carlin, J. Clin. Epidemiol. 46, 423 (1993), for any k as in R. L. Brennan,
    D. J. Prediger, Educ. Psychol. Meas. 41, 687 (1981).
    """
    classes = np.shape(confusion)[-1]
    return _beyond(accuracy(confusion), np.asarray(1.0 / classes))


def matthews(confusion: NDArray[Any]) -> Values:
    """(...) Matthews correlation for any number of classes: J. Gorodkin, Comput. Biol. Chem. 28, 367 (2004), eq. 8."""
    table = np.asarray(confusion, np.float64)
    first, second, total = table.sum(axis=-1), table.sum(axis=-2), table.sum(axis=(-2, -1))
    agreed = np.trace(table, axis1=-2, axis2=-1) * total - (first * second).sum(axis=-1)
    # Rounding can leave a product of nothing a little off zero.
    spread = [total**2 - (side**2).sum(axis=-1) for side in (first, second)]
    clear = [np.where(s > 1e-12 * total**2, s, 0.0) for s in spread]
    return _ratio(agreed, np.sqrt(clear[0] * clear[1]))


def fleiss_kappa(agreed: NDArray[Any], shares: NDArray[Any]) -> Values:
    """(...) kappa of many raters: J. L. Fleiss, Psychol. Bull. 76, 378 (1971), where their number may differ by site.

    Parameters
    ----------
    agreed
        (...) mean over the sites of the share of pairs of raters that agree, see `pairs_that_agree`.
    shares
        (..., k) mean over the sites of the share of raters that said each class.
    """
    return _beyond(np.asarray(agreed, np.float64), (np.asarray(shares, np.float64) ** 2).sum(axis=-1))


def pairs_that_agree(counts: NDArray[Any]) -> Values:
    """(n,) share of the pairs of raters of each site that agree: Σ_j n_j (n_j - 1) / (r (r - 1)).

    Parameters
    ----------
    counts
        (n, k) raters that said each class; NaN follows where there are less than two.
    """
    table = np.asarray(counts, np.float64)
    raters = table.sum(axis=-1)
    return _ratio((table * (table - 1)).sum(axis=-1), raters * (raters - 1))


def _beyond(observed: Values, chance: NDArray[Any]) -> Values:
    """What is observed beyond chance, of what could be."""
    left = np.where(1 - chance > 1e-12, 1 - chance, 0.0)
    return _ratio(observed - chance, left)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Values:
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    out: Values = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return out
