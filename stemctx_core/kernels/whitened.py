"""Whitened distances of many sites: how far each is from its candidate, and whether it has changed.

Sites of one kind are whitened in one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_squares(
    features: NDArray[np.float32],
    row: NDArray[np.integer[Any]],
    mean: NDArray[np.float32],
    whiten: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Mean square of each site's whitened distance from its candidate: (n,).

    Parameters
    ----------
    features
        (n, K).
    row
        (n,) candidate of each.
    mean
        (C, K).
    whiten
        (C, K, K) inverse Cholesky factors.
    """
    squares = np.empty(len(features))
    for c, mine in _kinds(row, len(mean)):
        white = (features[mine] - mean[c]) @ whiten[c].T
        squares[mine] = np.einsum("nk,nk->n", white, white) / white.shape[1]
    return squares


def squares(
    features: NDArray[np.float32],
    kind: NDArray[np.integer[Any]],
    of: NDArray[np.integer[Any]],
    mean: NDArray[np.float32],
    whiten: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(n, C) squares of each site's whitened distances from the candidates of its kind; infinite for the others.

    Parameters
    ----------
    kind, of
        (n,) sublattice of each site, and (C,) of each candidate; other parameters as of `mean_squares`.
    """
    found = np.full((len(features), len(mean)), np.inf, np.float32)
    for code, mine in _kinds(kind, int(of.max()) + 1):
        chosen = np.flatnonzero(of == code)
        factors = whiten[chosen]
        white = features[mine] @ factors.reshape(-1, features.shape[1]).T
        white -= (factors @ mean[chosen][:, :, None]).ravel()
        white = white.reshape(len(mine), len(chosen), -1)
        found[np.ix_(mine, chosen)] = np.einsum("nck,nck->nc", white, white)
    return found


def changes(
    difference: NDArray[np.float32],
    kind: NDArray[np.integer[Any]],
    was: NDArray[np.integer[Any]],
    whiten: NDArray[np.float32],
    mean: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What speaks for each site having changed: (n,) nats of the likeliest change, and (n,) mean squares.

    Parameters
    ----------
    difference
        (n, K) of a site's features from what they were, spread as in a single frame; a change between two frames is
        less by the square root of two then.
    kind
        (n,) sublattice of each.
    was
        (n,) candidate that each was taken for.
    whiten
        (sublattices, K, K) inverse Cholesky factors of what two frames may differ by.
    mean
        (C, K) features of the candidates.
    """
    nats, squares = np.empty(len(difference)), np.empty(len(difference))
    for code, mine in _kinds(kind, len(whiten)):
        white = difference[mine] @ whiten[code].T
        squares[mine] = np.einsum("nk,nk->n", white, white) / white.shape[1]
        expected = mean @ whiten[code].T * np.float32(np.sqrt(0.5))
        along, old = white @ expected.T, was[mine]
        away = np.sum((expected[:, None] - expected) ** 2, axis=-1)
        gained = along - along[np.arange(len(old)), old][:, None] - 0.5 * away[old]
        nats[mine] = gained.max(axis=1)  # at least that of no change, 0
    return nats, squares


def _kinds(kind: NDArray[np.integer[Any]], count: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each kind that is there, with its sites."""
    for code in range(count):
        mine = np.flatnonzero(kind == code)
        if len(mine):
            yield code, mine
