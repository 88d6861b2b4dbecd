"""Simulated frames like a measured one, whose truth is known: how far the same measurement is off on them.

The imperfections of a frame's microscope are not known, so each rehearsal draws others of the magnitudes that are
met. Bias and spread of the measurement on them correct an estimate and give its interval.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.dataset.frames import SiteTruth, labelled_frame
from stemctx_core.errors import FrameError, LibraryError
from stemctx_core.estimating.alike import recipe_like
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.estimating.noise import residual
from stemctx_core.estimating.quantities import measured, true_quantities
from stemctx_core.judging.view import lattice as site_grid
from stemctx_core.lattice import SiteGrid
from stemctx_core.simulation.library import ResponseLibrary

_LOG = logging.getLogger(__name__)

#: Fewer leave the fit of the dose's error to its witnesses undetermined.
_LEAST_REHEARSALS: Final = 12


@dataclass(frozen=True)
class Rehearsals:
    """What a measurement was off by on n simulated frames, and what of a frame tells by how much.

    Attributes
    ----------
    errors
        (n, 4) logarithm of what was measured over the truth, in the order of `Quantities`.
    witnesses
        (n, 6) of each; see `witnesses`.
    """

    errors: NDArray[np.float64]
    witnesses: NDArray[np.float64]


def witnesses(lattice: HostLattice) -> NDArray[np.float64]:
    """What goes with the error of the measured dose: (6,).

    The dose itself, the variance of a pixel, the correlation of neighbouring pixels along the fast and the slow axis,
    the scatter of amplitudes and the jitter. Together they leave a third of the error that the dose has by itself.
    """
    left, scatter = residual(lattice), lattice.scatter
    return np.array(
        [
            np.log(scatter.dose_e_per_angstrom2),
            np.log(max(left.variance, 1e-12)),
            left.correlation(0, 1),
            left.correlation(1, 0),
            scatter.nuisance.amplitude,
            scatter.nuisance.jitter_angstrom,
        ]
    )


def rehearse(
    library: ResponseLibrary,
    lattice: HostLattice,
    angles_mrad: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> Rehearsals:
    """Measure frames like this one.

    Parameters
    ----------
    angles_mrad
        (n, 2) inner and outer angles that the frame may have been taken with; each rehearsal draws one.
    count
        How many frames.

    Raises
    ------
    FrameError
        Where hardly any frame like this one can be measured.
    """
    middle, context, known = measured(lattice), lattice.context_without_pixel_size, lattice.known
    errors: list[NDArray[np.float64]] = []
    witnessed: list[NDArray[np.float64]] = []
    for _ in range(count):
        inner, outer = (float(v) for v in angles_mrad[rng.integers(len(angles_mrad))])
        recipe = recipe_like(lattice, middle, (inner, outer), rng)
        seed = int(rng.integers(1 << 31))
        try:
            frame = labelled_frame(library, recipe, seed)
            grid = named_by_truth(site_grid(frame.images[0], context, known), frame.sites)
            found = host_lattice(library, frame.images[0], context, grid)
        except (FrameError, LibraryError) as error:
            _LOG.info("A rehearsal was left out: %s", error)
            continue
        errors.append(measured(found).logarithms() - true_quantities(library, recipe).logarithms())
        witnessed.append(witnesses(found))
    if len(errors) < _LEAST_REHEARSALS:
        raise FrameError(
            "not_estimated",
            f"Only {len(errors)} of {count} simulated frames like this one could be measured.",
            "The frame is too noisy or its field too small for intervals: use more dose or a larger field.",
        )
    return Rehearsals(np.array(errors), np.array(witnessed))


def named_by_truth(grid: SiteGrid, truth: SiteTruth) -> SiteGrid:
    """The sublattices by their true names: whether a measured frame's may be wrong is said beside its estimates."""
    _, nearest = cKDTree(truth.positions_px).query(grid.positions_px)
    return grid if np.mean(grid.sublattice == truth.sublattice[nearest]) > 0.5 else grid.swapped()
