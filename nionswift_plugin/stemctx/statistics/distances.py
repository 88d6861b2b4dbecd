"""Distances between defects: to the nearest neighbour, and the radial distribution, both corrected for the border.

A defect at the border has neighbours that the frame does not show. The window is the rectangle in which sites were
judged. In it, points thrown at random have a known number of pairs at every distance, by which the pairs that are
seen are divided; and a nearest neighbour counts only where it is nearer than the border, weighted by the inverse of
the area in which a point would have counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

BIN_NM: Final = 0.05
#: Fields of a session that are held.
MOST_FIELDS: Final = 256
#: Points of a frame beyond which pairs are not looked for: a frame of so many defects is another specimen.
MOST_POINTS: Final = 20_000
LARGEST_NM: Final = 5.0


@dataclass(frozen=True)
class Distances:
    """Distances in one field, or in several that were added up.

    Attributes
    ----------
    pairs
        (bins,) ordered pairs at each distance.
    pairs_at_random
        (bins,) the same for as many points thrown at random into the same window.
    nearest
        (bins,) weighted number of nearest neighbours at each distance.
    points
        How many there are.
    """

    pairs: NDArray[np.float64]
    pairs_at_random: NDArray[np.float64]
    nearest: NDArray[np.float64]
    points: int

    @staticmethod
    def none() -> Distances:
        """Of no points."""
        zero = np.zeros(round(LARGEST_NM / BIN_NM))
        return Distances(zero, zero, zero, 0)

    def __add__(self, other: Distances) -> Distances:
        return Distances(
            self.pairs + other.pairs,
            self.pairs_at_random + other.pairs_at_random,
            self.nearest + other.nearest,
            self.points + other.points,
        )

    @property
    def distance_nm(self) -> NDArray[np.float64]:
        """(bins,) middle of each bin (nm)."""
        middle: NDArray[np.float64] = (np.arange(len(self.pairs), dtype=np.float64) + 0.5) * BIN_NM
        return middle

    @property
    def radial(self) -> NDArray[np.float64]:
        """(bins,) radial distribution g: 1 where pairs are as frequent as at random; NaN where none could be seen."""
        with np.errstate(divide="ignore", invalid="ignore"):
            g: NDArray[np.float64] = self.pairs / self.pairs_at_random
        g[~np.isfinite(g)] = np.nan
        return g

    @property
    def nearest_per_nm(self) -> NDArray[np.float64]:
        """(bins,) probability density of the distance to the nearest neighbour (1/nm); 0 without points."""
        total = self.nearest.sum()
        density: NDArray[np.float64] = self.nearest / (total * BIN_NM) if total > 0 else self.nearest
        return density

    @property
    def mean_nearest_nm(self) -> float | None:
        """Mean distance to the nearest neighbour (nm); None where none was nearer than the border."""
        total = float(self.nearest.sum())
        return float(self.nearest @ self.distance_nm) / total if total > 0 else None


def distances(
    points_nm: NDArray[np.floating], window_nm: tuple[tuple[float, float], tuple[float, float]]
) -> Distances:
    """Distances between points.

    Parameters
    ----------
    points_nm
        (n, 2) y, x (nm).
    window_nm
        Lowest and highest y, then of x, between which points were looked for (nm).

    Notes
    -----
    Pairs at random: the isotropic set covariance of a rectangle, ab - 2r(a + b)/π + r²/π, for distances r up to the
    shorter side (Stoyan and Stoyan, Fractals, Random Shapes and Point Fields, 1994, appendix K); larger ones are
    not counted. Nearest neighbours: K.-H. Hanisch, Statistics 15, 409 (1984).
    """
    low, high = np.array(window_nm, float).T
    sides = high - low
    empty = Distances.none()
    inside = np.asarray(points_nm, float).reshape(-1, 2)
    inside = inside[((inside >= low) & (inside <= high)).all(axis=1)]
    n = len(inside)
    if n < 2 or n > MOST_POINTS or sides.min() <= 0:
        return Distances(empty.pairs, empty.pairs_at_random, empty.nearest, n)
    edges: NDArray[np.float64] = np.arange(len(empty.pairs) + 1, dtype=np.float64) * BIN_NM
    seen = edges <= sides.min()
    tree = cKDTree(inside)
    within = np.where(seen, tree.count_neighbors(tree, edges), 0).astype(float)
    at_random = n * (n - 1) / sides.prod() ** 2 * _covered(edges, sides[0], sides[1])
    counted = seen[1:]
    return Distances(
        pairs=np.where(counted, np.diff(within), 0.0),
        pairs_at_random=np.where(counted, np.diff(at_random), 0.0),
        nearest=_nearest(tree, inside, low, high, edges),
        points=n,
    )


def _covered(r: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Integral of 2πr times the isotropic set covariance from 0 to r."""
    covered: NDArray[np.float64] = np.pi * a * b * r**2 - 4 / 3 * (a + b) * r**3 + r**4 / 2
    return covered


def _nearest(
    tree: cKDTree,
    points: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    nearest = tree.query(points, k=2)[0][:, 1]
    to_border = np.minimum(points - low, high - points).min(axis=1)
    kept = nearest[nearest < to_border]
    weights = 1.0 / np.prod((high - low)[None] - 2 * kept[:, None], axis=1)
    counts, _ = np.histogram(kept, edges, weights=weights)
    return counts * float(np.prod(high - low))
