"""The reference tier: abTEM multislice of whole supercells, atoms on pixels, one slice an atomic plane.

A probe position costs some 40 ms, so that the reference is taken where it is needed: at every column and on a ring
around it, whose weighted sum is the signal of the column under an effective source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.multislice import RING_MRAD, check_cutoff
from stemctx_core.simulation.truth.supercells import Atom, Grid, Supercell

#: Changes when the same atoms give other figures; finished parts of another version are not read.
REFERENCE_VERSION: Final = 2
#: Effective source (Å, standard deviation per axis) that the weighted sum over a site stands for.
SOURCE_SIGMA_ANGSTROM: Final = 0.40
#: Weight of the centre, and of each of six positions at 2σ around it.
CENTRE_WEIGHT: Final = 1 / 2
RING_WEIGHT: Final = 1 / 12
POSITIONS_PER_SITE: Final = 7
_TAIL_ANGSTROM: Final = 2.5
_INSIDE_ANGSTROM: Final = 0.01


@dataclass(frozen=True)
class Probe:
    """What the reference is taken with.

    Attributes
    ----------
    outer_mrad
        Rings of 5 mrad are kept from 0 up to here.
    projection, slice_angstrom
        abTEM's own choice: ``infinite`` with one slice an atomic plane (`slice_angstrom` is None), or ``finite`` with
        slices of this thickness.
    """

    high_tension_kv: float
    convergence_semi_angle_mrad: float = 30.0
    outer_mrad: float = 200.0
    projection: str = "infinite"
    slice_angstrom: float | None = None


def site_positions(cell: Supercell) -> NDArray[np.float64]:
    """(sites, 7, 2) probe positions: each column, and six on a circle of 2σ around it (Å).

    Centre weight 1/2 and six points of weight 1/12 at radius 2σ integrate every polynomial of degree 5 against a
    two-dimensional Gaussian of standard deviation σ exactly: the formula E₂^{r²}: 5-1 of Stroud, Approximate
    Calculation of Multiple Integrals (Prentice-Hall, 1971), written for exp(-r²) at radius √2.
    """
    angles = np.radians(60.0 * np.arange(6))
    ring = 2 * SOURCE_SIGMA_ANGSTROM * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    around = np.concatenate([np.zeros((1, 2)), ring])
    positions: NDArray[np.float64] = cell.places_angstrom[:, None, :] + around
    return positions


def site_signal(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Source-weighted signal of each site from values at its seven positions (..., 7)."""
    weights = np.array([CENTRE_WEIGHT] + [RING_WEIGHT] * 6)
    signal: NDArray[np.float64] = values.astype(np.float64) @ weights
    return signal


def supercell_rings(
    host: Host,
    atoms: Sequence[Atom],
    grid: Grid,
    positions_angstrom: NDArray[np.float64],
    probe: Probe,
) -> NDArray[np.float32]:
    """Fraction of the beam in each 5 mrad ring from the axis outwards.

    Parameters
    ----------
    host
        Lattice constant and distance of the chalcogen planes.
    atoms
        On pixels; they are wrapped into the periodic cell.
    grid
        Pixels of the lattice's steps.
    positions_angstrom
        (n, 2) probe positions as x, y.
    probe
        Energy, angles and abTEM's projection.

    Returns
    -------
    numpy.ndarray
        (n, rings) float32; the whole beam is 1.

    Raises
    ------
    LibraryError
        Where the bandwidth of the grid cuts below the outer angle.
    """
    import abtem

    potential, entrance = _potential(host, atoms, grid, probe)
    # In focus where the beam meets the first plane, however far above it the first slice begins.
    focus = entrance if probe.slice_angstrom else 0.0
    beam = abtem.Probe(
        energy=probe.high_tension_kv * 1e3,
        semiangle_cutoff=probe.convergence_semi_angle_mrad,
        aberrations={"C10": -focus},
    )
    beam.grid.match(potential)
    pixel_angstrom = max(grid.pixel_angstrom(host))
    check_cutoff(
        min(beam.cutoff_angles), probe.high_tension_kv, probe.outer_mrad, pixel_angstrom, max(potential.extent)
    )
    size = np.array(potential.extent)
    measured = beam.scan(
        potential,
        scan=abtem.CustomScan(np.mod(positions_angstrom, size)),
        detectors=abtem.FlexibleAnnularDetector(step_size=RING_MRAD),
        max_batch=8,
        lazy=False,
    )
    rings: NDArray[np.float32] = np.asarray(measured.array, np.float32).sum(axis=2)
    return rings[:, : round(probe.outer_mrad / RING_MRAD)]


def _potential(host: Host, atoms: Sequence[Atom], grid: Grid, probe: Probe):  # type: ignore[no-untyped-def]  # abTEM's own type
    """The projected potential, and how far the probe goes before it meets the first plane of atoms."""
    import abtem
    from ase import Atoms

    abtem.config.set({"diagnostics.progress_bar": False, "dask.lazy": False, "fft": "fftw"})
    dx, dy = grid.pixel_angstrom(host)
    nx, ny = grid.shape_px
    # A slice acts at its entrance: one that reaches to the next plane lets the wave go just that far. Atoms stand a
    # little inside their slice, so that rounding does not put them into the one above.
    heights = sorted({round(a.height_angstrom, 3) for a in atoms})
    if probe.slice_angstrom is None:
        entrance, inside = 0.0, _INSIDE_ANGSTROM
        slices = tuple(np.diff([*heights, heights[-1] + 2 * inside]))
    else:
        half = host.separation_angstrom / 2
        thickness = half / math.ceil(half / probe.slice_angstrom)
        before = math.ceil(_TAIL_ANGSTROM / thickness)
        deep = math.ceil((heights[-1] - heights[0]) / thickness - 1e-6)
        slices = (thickness,) * (2 * before + deep + 1)
        # What is cut into slices at a nucleus is integrated badly: it stands in the middle of its slice.
        inside = thickness / 2 if probe.projection == "finite" else _INSIDE_ANGSTROM
        entrance = before * thickness + (inside if probe.projection == "finite" else 0.0)
    first = entrance + (_INSIDE_ANGSTROM if probe.projection == "infinite" else 0.0) - heights[0]
    structure = Atoms(
        [a.element for a in atoms],
        positions=[(a.x_px % nx * dx, a.y_px % ny * dy, first + a.height_angstrom) for a in atoms],
        cell=(nx * dx, ny * dy, sum(slices)),
        pbc=True,
    )
    potential = abtem.Potential(structure, gpts=(nx, ny), slice_thickness=slices, projection=probe.projection)
    return potential.build(lazy=False), entrance


def vacuum_rings(host: Host, grid: Grid, probe: Probe) -> NDArray[np.float64]:
    """(rings,) of the beam where nothing is in its way; the disc's edge is as soft as the cell makes it."""
    import abtem

    nx, ny = grid.shape_px
    dx, dy = grid.pixel_angstrom(host)
    beam = abtem.Probe(
        energy=probe.high_tension_kv * 1e3,
        semiangle_cutoff=probe.convergence_semi_angle_mrad,
        extent=(nx * dx, ny * dy),
        gpts=(nx, ny),
    )
    measured = abtem.FlexibleAnnularDetector(step_size=RING_MRAD).detect(beam.build(lazy=False))
    rings = np.asarray(measured.array, np.float64).reshape(-1)
    return rings[: round(probe.outer_mrad / RING_MRAD)]
