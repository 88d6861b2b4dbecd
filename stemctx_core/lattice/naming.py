"""Which of the two visible sublattices is the metal.

The brighter one is the metal only where the context says so: Se2 outshines Mo, and W on a low-angle detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stemctx_core.chemistry.elements import atomic_number
from stemctx_core.chemistry.materials import Host

Real = NDArray[np.float32]
#: X2/M of the context; several where the optics are not known, each as likely as the others.
ExpectedRatio = float | tuple[float, ...]

#: Standard deviation of the logarithm of X2/M between what is expected for a context and what a frame shows.
RATIO_SPREAD: Final = 0.15
#: Log-odds (nats) above which the ratio alone decides, 95 %: levels 12 % apart decide from an expected ratio 1.35 on.
#: Not higher, as columns of half the intensity on the metal's sites may be dopants.
RATIO_DECIDES: Final = 3.0
#: Exponent of the atomic number in the peak of one atom: 1.1 to 1.6 over detectors and energies.
_Z_EXPONENT: Final = 1.35
#: Half the width of the band, in units of a whole column, in which a column counts as one chalcogen of two.
_BAND: Final = 0.13
#: Where that band may lie.
_BAND_CENTRES: Final = (0.22, 0.55)
COLUMNS_DECIDE: Final = 3.0
#: How `Naming.how` begins where neither decides.
AMBIGUOUS: Final = "ambiguous"
#: A dimmer sublattice below this share of the brighter one is as good as not seen.
_FAINTEST: Final = 0.05
_PROBE_ANGSTROM: Final = 0.4


@dataclass(frozen=True)
class VisibleSites:
    """The three points of every cell, y, x in pixels.

    Attributes
    ----------
    brighter, dimmer, hollow
        (n, 2) each.
    heights
        Of the mean brighter and dimmer column over the hollow site.
    """

    brighter: NDArray[np.float64]
    dimmer: NDArray[np.float64]
    hollow: NDArray[np.float64]
    heights: tuple[float, float]


@dataclass(frozen=True)
class Naming:
    """Outcome.

    Attributes
    ----------
    metal_is_brighter
        Whether the metal is the brighter sublattice.
    how
        In words, with the figures.
    certainty
        Probability that it is right, where the ratio had to name them although it cannot decide; else 1.
    """

    metal_is_brighter: bool
    how: str
    certainty: float = 1.0


def by_columns(
    image: Real, sites: VisibleSites, host: Host, expected_ratio: ExpectedRatio, pixel_size_angstrom: float
) -> Naming:
    """Name the sublattices by their half-bright columns, where `by_ratio` cannot decide.

    Parameters
    ----------
    image
        (height, width).
    expected_ratio
        X2/M of the context.
    """
    separation, odds, figures = _odds(sites.heights, expected_ratio)
    smooth = ndimage.gaussian_filter(image, _PROBE_ANGSTROM / pixel_size_angstrom, mode="nearest", truncate=3.0)
    in_bright, error_bright = _one_of_two(smooth, sites.brighter, sites.hollow, _share_of_one(host, separation))
    in_dim, error_dim = _one_of_two(smooth, sites.dimmer, sites.hollow, _share_of_one(host, -separation))
    sigma = (in_bright - in_dim) / np.hypot(error_bright, error_dim)
    if abs(sigma) >= COLUMNS_DECIDE:
        metal_is_brighter = bool(sigma < 0)
        chalcogen, metal = (in_dim, in_bright) if metal_is_brighter else (in_bright, in_dim)
        return Naming(
            metal_is_brighter,
            f"columns: {chalcogen:.1%} half-bright columns on X against {metal:.1%} on M; the ratio cannot tell "
            f"({figures})",
        )
    certainty = float(1 / (1 + np.exp(-abs(odds))))
    return Naming(odds < 0, f"{AMBIGUOUS}: taken by the ratio, which cannot tell ({figures})", certainty)


def by_ratio(heights: tuple[float, float], expected_ratio: ExpectedRatio) -> Naming | None:
    """Name the sublattices by the ratio of their heights alone; None where that cannot decide.

    Parameters
    ----------
    heights
        Of the mean brighter and dimmer column over the hollow site.
    expected_ratio
        X2/M of the context.
    """
    _, odds, figures = _odds(heights, expected_ratio)
    return Naming(odds < 0, f"ratio: {figures}") if abs(odds) >= RATIO_DECIDES else None


def _odds(heights: tuple[float, float], expected_ratio: ExpectedRatio) -> tuple[float, float, str]:
    """Logarithm of the brighter over the dimmer height, log-odds that the brighter one is the chalcogen, and in words."""
    high, low = heights
    separation = float(np.log(high / max(low, _FAINTEST * high)))
    expected = np.log(np.atleast_1d(expected_ratio))
    # Gaussian errors of the logarithm.
    chalcogen, metal = (
        float(np.logaddexp.reduce(-((seen - expected) ** 2) / (2 * RATIO_SPREAD**2)))
        for seen in (separation, -separation)
    )
    odds = chalcogen - metal
    shown = float(np.exp(-separation if odds < 0 else separation))
    low_end, high_end = float(np.exp(expected.min())), float(np.exp(expected.max()))
    told = f"{low_end:.2f}" if low_end == high_end else f"{low_end:.2f} to {high_end:.2f}"
    return separation, odds, f"X2/M {shown:.2f} against {told} expected"


def _share_of_one(host: Host, log_ratio: float) -> float:
    """Height of one chalcogen over that of the pair, if the pair over the metal is as the logarithm says.

    One chalcogen over one metal hardly depends on the detector, the pair does: its atoms add up coherently at low
    angles.
    """
    single = (atomic_number(host.chalcogen) / atomic_number(host.metal)) ** _Z_EXPONENT
    return float(np.clip(single / np.exp(log_ratio), *_BAND_CENTRES))


def _one_of_two(
    smooth: Real, sites: NDArray[np.float64], hollow: NDArray[np.float64], share_of_one: float
) -> tuple[float, float]:
    """Share of columns about as high as one chalcogen of two, beyond what noise makes, and its standard error."""
    limit = np.array(smooth.shape) - 2
    inside, around = (p[((p > 1) & (p < limit)).all(axis=1)] for p in (sites, hollow))
    if len(inside) < 20 or len(around) < 3:
        return 0.0, 1.0
    _, nearest = cKDTree(around).query(inside, k=3)
    height = _at(smooth, inside) - _at(smooth, around)[nearest].mean(axis=1)
    if np.median(height) <= 0:
        return 0.0, 1.0
    share = height / np.median(height)
    low = int((np.abs(share - share_of_one) < _BAND).sum())
    # Noise puts as many columns into the mirror image of the band above the median.
    high = int((np.abs(share - (2 - share_of_one)) < _BAND).sum())
    return (low - high) / len(share), float(np.sqrt(low + high + 1)) / len(share)


def _at(image: Real, points: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = ndimage.map_coordinates(image, points.T, order=1, mode="nearest")
    return values
