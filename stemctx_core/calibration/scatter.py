"""How the host's columns scatter: dose, and displacements and amplitudes that vary from column to column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls

from stemctx_core.encoding.prediction import Predictions
from stemctx_core.errors import CalibrationError
from stemctx_core.kernels.compiled import compiled
from stemctx_core.kernels.order import median
from stemctx_core.kernels.robust import medians
from stemctx_core.scene import Nuisance

#: Columns of one kind scatter by 0.05 to 0.11 in real frames; more would be counting noise taken for scatter.
LARGEST_AMPLITUDE_SD: Final = 0.12
_LARGEST_COUNTED_BACKGROUND = 1.0
#: Sites of a sublattice whose scatter is measured at most: it is then known to 2 %, and the dose with it.
_SCATTERED_SITES = 2048
_ROUNDS = 4
#: What a variance is a sum of; the last counts by itself only where the background is the detector's own level.
_SHAPES: Final = ("counting", "jitter_angstrom", "shift_angstrom", "amplitude", "defects", "floor")


@dataclass(frozen=True)
class Scatter:
    """What the residuals of the host's columns say: counting noise, and scatter beyond it.

    Attributes
    ----------
    dose_e_per_angstrom2, background
        Electrons per area, and the uniform intensity (in units of the reference) whose counting noise is there too.
    nuisance
        Sizes of the random nuisances; the others as given.
    """

    dose_e_per_angstrom2: float
    background: float
    nuisance: Nuisance


def measure_scatter(
    predictions: Predictions,
    features: NDArray[np.float32],
    sublattice: NDArray[np.int8],
    rows: tuple[int, int],
    background: float,
    base: Nuisance,
) -> Scatter:
    """Dose and the size of random nuisances from how the host's columns scatter.

    The robust variance of every feature over the sites of a sublattice is a sum of known shapes, one each for counting
    noise of the columns and of a uniform background, displacement of columns and of patches, amplitude scatter and
    neighbouring defects; bounded least squares gives their sizes. The last is not used: a robust variance sees
    only part of it.

    Parameters
    ----------
    predictions
        For the calibrated scene.
    features
        (n, K) of whole, calibrated patches in units of the reference.
    rows
        Rows of the host's metal and chalcogen column in the predictions.
    background
        Of the frame in units of the reference; taken for scattered electrons unless it is so large or so negative
        that it must be the detector's own level, whose noise is then fitted too.
    base
        Nuisances that are not measured here.

    Raises
    ------
    CalibrationError
        A frame so dark that nothing scatters.
    """
    counted = 0.0 <= background <= _LARGEST_COUNTED_BACKGROUND
    design, observed, typical = [], [], []
    for code, row in enumerate(rows):
        mine = np.flatnonzero(sublattice == code)
        robust, plain = _variances(features, mine[:: -(-len(mine) // _SCATTERED_SITES) or 1])
        observed.append(robust)
        typical.append(plain)
        components = predictions.candidates[row].components
        shapes = np.stack([np.diagonal(components[name]) for name in _SHAPES], axis=1)
        if counted:
            shapes[:, 0] += background * shapes[:, -1]
            shapes = shapes[:, :-1]
        design.append(shapes)
    matrix, spread = np.concatenate(design), np.concatenate(observed)
    if not medians(spread[None])[0] > 0:
        raise CalibrationError(
            "too_dark",
            "There are so few counts that the scatter of the columns cannot be measured.",
            "Use more dose: a longer dwell, more current or a smaller field.",
        )
    largest = np.array(
        [np.inf, 0.15**2, 0.25**2, LARGEST_AMPLITUDE_SD**2, 0.25] + ([] if counted else [np.inf])
    )
    # Weighted by what is predicted, in a few rounds: where hardly an electron falls, the robust variance is far too
    # small, and weighted by itself it would rule the fit.
    expected = np.maximum(spread, 0.2 * np.concatenate(typical))
    for _ in range(_ROUNDS):
        scaling = (matrix / expected[:, None]).max(axis=0)
        sizes = _bounded(matrix / expected[:, None] / scaling, spread / expected, largest * scaling) / scaling
        expected = np.maximum(matrix @ sizes, 1e-3 * spread)
    counting, jitter, shift, amplitude, _, *free = sizes
    dose = float(np.clip(1 / max(counting, 1e-9), 10, 1e8))
    noisy_background = background if counted else float(np.clip(free[0] * dose, 0.0, 10.0))
    return Scatter(
        dose_e_per_angstrom2=dose,
        background=noisy_background,
        nuisance=replace(
            base,
            jitter_angstrom=float(max(np.sqrt(jitter), 0.01)),
            shift_angstrom=float(max(np.sqrt(shift), 0.01)),
            amplitude=float(np.sqrt(amplitude)),
        ),
    )


def _bounded(
    matrix: NDArray[np.float64], target: NDArray[np.float64], largest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Least squares between 0 and a largest value; hardly ever does a largest one matter."""
    solution: NDArray[np.float64] = nnls(matrix, target)[0]
    if (solution > largest).any():
        solution = lsq_linear(matrix, target, bounds=(0.0, largest)).x
    return solution


@compiled()
def _variances(features, rows):  # type: ignore[no-untyped-def]  # numba infers types
    """Of each column of (n, K) float32 features, over some rows: its variance by the median deviation, and the plain one."""
    columns = features.shape[1]
    robust, plain = np.zeros(columns), np.zeros(columns)
    if not len(rows):
        return robust, plain
    values = np.empty(len(rows), np.float32)
    for k in range(columns):
        for n in range(len(rows)):
            values[n] = features[rows[n], k]
        middle, mean, squares = np.float32(median(values)), values.mean(), 0.0
        for n in range(len(rows)):
            squares += (values[n] - mean) ** 2
            values[n] = abs(values[n] - middle)
        robust[k], plain[k] = (1.4826 * median(values)) ** 2, squares / len(rows)
    return robust, plain
