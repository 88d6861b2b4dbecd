"""One column in vacuum through abTEM: the reference from which the response library is built.

Three rules learned by measuring. Atoms stand on a pixel of the potential: at 0.05 Å sampling an atom half a
pixel off is wrong by up to 15 %. One slice an atomic plane. The signal that abTEM's bandwidth limit cuts off is
never lost silently: a detector beyond it is an error that names the sampling needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.errors import LibraryError

VACUUM_ANGSTROM = 1.5
RING_MRAD = 5.0


@dataclass(frozen=True)
class MultisliceSettings:
    """How a column is simulated.

    Attributes
    ----------
    high_tension_kv, convergence_semi_angle_mrad
        The probe.
    box_angstrom
        Side of the periodic box; the probe positions reach 6.2 Å from its middle.
    grid_points
        Pixels along a side; choose a number with only small prime factors.
    outer_mrad
        Outer edge of the last ring that is kept.
    focus_angstrom
        Depth at which the probe is in focus, from the plane at which it meets the first slice.
    astigmatism_angstrom
        Magnitude of the twofold astigmatism; at a positive defocus the probe is longest along x.
    """

    high_tension_kv: float
    convergence_semi_angle_mrad: float = 30.0
    box_angstrom: float = 14.0
    grid_points: int = 350
    inner_mrad: float = 35.0
    outer_mrad: float = 250.0
    focus_angstrom: float = 0.0
    astigmatism_angstrom: float = 0.0

    @property
    def sampling_angstrom(self) -> float:
        """Pixel of the potential (Å)."""
        return self.box_angstrom / self.grid_points


def probe_radii_angstrom() -> NDArray[np.float64]:
    """Distances from the column at which the probe is put (Å), densest in the middle."""
    return np.concatenate([np.arange(0, 1.5, 0.125), np.arange(1.5, 2.7, 0.2), np.arange(2.7, 6.3, 0.5)])


def required_sampling_angstrom(high_tension_kv: float, outer_mrad: float) -> float:
    """Largest pixel whose anti-aliasing limit (2/3 of Nyquist) still reaches the outer angle (Å)."""
    return wavelength_angstrom(high_tension_kv) / (3.0 * outer_mrad * 1e-3)


def check_cutoff(
    limit_mrad: float, high_tension_kv: float, outer_mrad: float, sampling_angstrom: float, box_angstrom: float
) -> None:
    """Raise `LibraryError` with the fix where the bandwidth of a grid cuts below the outer angle."""
    if limit_mrad < outer_mrad:
        needed = required_sampling_angstrom(high_tension_kv, outer_mrad)
        raise LibraryError(
            f"A simulation grid of {sampling_angstrom:.4f} Å cuts all signal beyond {limit_mrad:.0f} mrad at "
            f"{high_tension_kv:g} kV, below the outer angle {outer_mrad:g} mrad. "
            f"Use a sampling of {needed:.4f} Å or finer ({math.ceil(box_angstrom / needed)} pixels in this box)."
        )


def wavelength_angstrom(high_tension_kv: float) -> float:
    """Relativistic electron wavelength (Å), λ = 12.2643 Å / √(V + 0.978476e-6 V²)."""
    volts = high_tension_kv * 1e3
    return 12.2642597 / math.sqrt(volts * (1 + 0.978476e-6 * volts))


def ring_response(
    atoms: list[tuple[str, float, float, float]],
    separation_angstrom: float,
    positions_angstrom: NDArray[np.float64],
    settings: MultisliceSettings,
    slices_angstrom: tuple[float, ...] | None = None,
) -> NDArray[np.float32]:
    """Fraction of the beam scattered into each 5 mrad ring, for each probe position.

    Parameters
    ----------
    atoms
        Element, x, y (Å, on a pixel of the potential) and plane: -0.5, 0 or 0.5 of the separation.
    separation_angstrom
        Distance of the outer planes.
    positions_angstrom
        (n, 2) probe positions as x, y.
    settings
        Probe, box and rings.
    slices_angstrom
        Thickness of each slice; the atoms of a slice act at its entrance. Three, an atomic plane each, if left out.

    Returns
    -------
    numpy.ndarray
        (n, rings), dimensionless; the whole beam is 1.

    Raises
    ------
    LibraryError
        Where the bandwidth of the grid cuts below the outer angle.
    """
    import abtem
    from ase import Atoms

    abtem.config.set({"diagnostics.progress_bar": False, "dask.lazy": False, "fft": "fftw"})
    box = settings.box_angstrom
    height = separation_angstrom + 2 * VACUUM_ANGSTROM
    middle = height / 2
    structure = Atoms(
        [a[0] for a in atoms],
        positions=[(x, y, middle + plane * separation_angstrom) for _, x, y, plane in atoms],
        cell=(box, box, height),
        pbc=True,
    )
    # A slice acts at its entrance: slices as thick as the planes are apart, so that the wave goes that far between
    # them. Slices cut halfway between the planes let it go 0.7 Å too far, and a pair then scatters 5 % too little.
    half = separation_angstrom / 2
    slices = slices_angstrom or (half, half, height - 2 * half)
    gpts = (settings.grid_points, settings.grid_points)
    potential = abtem.Potential(structure, gpts=gpts, slice_thickness=slices, projection="infinite")
    potential = potential.build(lazy=False)
    probe = abtem.Probe(
        energy=settings.high_tension_kv * 1e3,
        semiangle_cutoff=settings.convergence_semi_angle_mrad,
        # abTEM's C10 is the defocus with its sign turned; along phi12 the two add up.
        aberrations={
            "C10": -settings.focus_angstrom,
            "C12": settings.astigmatism_angstrom,
            "phi12": math.pi / 2,
        },
    )
    probe.grid.match(potential)
    check_cutoff(
        min(probe.cutoff_angles), settings.high_tension_kv, settings.outer_mrad, settings.sampling_angstrom, box
    )
    measured = probe.scan(
        potential,
        scan=abtem.CustomScan(positions_angstrom),
        detectors=abtem.FlexibleAnnularDetector(step_size=RING_MRAD),
        max_batch=8,
        lazy=False,
    )
    first = round(settings.inner_mrad / RING_MRAD)
    last = round(settings.outer_mrad / RING_MRAD)
    rings: NDArray[np.float32] = np.asarray(measured.array, np.float32)[:, first:last].sum(axis=2)
    return rings


def column_response(
    column: str, separations_px: tuple[int, ...], settings: MultisliceSettings
) -> NDArray[np.float32]:
    """Radial ring response of a column, and for a pair at several lateral displacements of its two atoms.

    For a pair the two atoms stand a whole number of pixels apart, the probe goes out from their midpoint in five
    directions of a half circle, and the mean over directions is kept: averaged later over the thermal (Rayleigh)
    distribution of that displacement this is the frozen-phonon average without Monte-Carlo noise. The motion of
    the midpoint is an exact Gaussian blur of the response and is applied when the library is read.

    Returns
    -------
    numpy.ndarray
        (displacements, radii, rings); one displacement for a column that is not a pair.
    """
    radii = probe_radii_angstrom()
    pixel = settings.sampling_angstrom
    centre = settings.grid_points // 2
    separation = columns.separation_angstrom(column)
    if not columns.is_pair(column):
        plane = 0.0 if column in columns.METALS or column not in columns.CHALCOGENS else -0.5
        at = centre * pixel
        positions = np.stack([at + radii, np.full_like(radii, at)], axis=1)
        return ring_response([(column, at, at, plane)], separation, positions, settings)[None]
    first, second = columns.elements(column)
    angles = np.radians([0.0, 45.0, 90.0, 135.0, 180.0])
    weights = np.array([1, 2, 2, 2, 1]) / 8.0
    responses = []
    for apart in separations_px:
        left, right = centre - apart // 2, centre - apart // 2 + apart
        middle_x, y = (left + right) / 2 * pixel, centre * pixel
        atoms = [(first, left * pixel, y, -0.5), (second, right * pixel, y, 0.5)]
        directions = angles if apart else angles[:1]
        positions = np.concatenate(
            [np.stack([middle_x + radii * np.cos(t), y + radii * np.sin(t)], axis=1) for t in directions]
        )
        rings = ring_response(atoms, separation, positions, settings)
        rings = rings.reshape(len(directions), len(radii), -1)
        mean = np.tensordot(weights, rings, axes=1) if apart else rings[0]
        responses.append(mean)
    return np.stack(responses).astype(np.float32)
