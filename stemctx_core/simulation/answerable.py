"""Optics that a library can answer for; every refusal names the fix."""

from __future__ import annotations

import math
from typing import Final

from stemctx_core.errors import LibraryError
from stemctx_core.simulation.interpolation import INNER_MARGIN_MRAD, NodeGrid
from stemctx_core.simulation.optics import Optics

#: Superposition of columns fails for narrow detectors.
NARROWEST_DETECTOR_MRAD: Final = 25.0
#: How far beyond its outermost convergences a library still answers, with what it holds there.
CONVERGENCE_TOLERANCE_MRAD: Final = 1.0
#: Convergences, from that of the astigmatic nodes, at which an astigmatism scaled by its phase stands for them.
ASTIGMATIC_MRAD_FROM_NODE: Final = (-2.5, 2.5)


def check_values(optics: Optics) -> None:
    """Refuse what is not a number, and negative sizes."""
    for name, value in (
        ("high tension", optics.high_tension_kv),
        ("convergence semi-angle", optics.convergence_semi_angle_mrad),
        ("inner angle", optics.inner_mrad),
        ("outer angle", optics.outer_mrad),
        ("effective source", optics.sigma_angstrom),
        ("defocus", optics.defocus_nm),
        ("astigmatism", optics.astigmatism_nm),
        ("azimuth of the astigmatism", optics.astigmatism_azimuth_rad),
    ):
        if not math.isfinite(value):
            raise LibraryError(f"The {name} is {value}. Give it as a finite number.")
    if optics.convergence_semi_angle_mrad <= 0:
        raise LibraryError(
            f"A convergence semi-angle of {optics.convergence_semi_angle_mrad:g} mrad cannot be. Give one above 0."
        )
    if optics.sigma_angstrom < 0 or optics.astigmatism_nm < 0:
        raise LibraryError(
            f"The effective source ({optics.sigma_angstrom:g} Å) and the astigmatism ({optics.astigmatism_nm:g} nm) "
            "cannot be negative. Turn the azimuth by 90° instead of the sign of an astigmatism."
        )


def check_probe(grid: NodeGrid, optics: Optics, kv: float) -> None:
    """Refuse a convergence, defocus or astigmatism outside the nodes at an energy."""
    convergence = optics.convergence_semi_angle_mrad
    held = tuple(grid.defoci_nm) if optics.defocus_nm else grid.convergences_mrad
    if not held:
        raise LibraryError(
            f"The library holds {kv:g} kV in focus only, not a defocus of {optics.defocus_nm:g} nm. Build one with "
            f"'stemctx simulate library --high-tension-kv {kv:g} --defocus-nm 2 --defocus-nm 4 --defocus-nm 6'."
        )
    low, high = held[0], held[-1]
    if not low - CONVERGENCE_TOLERANCE_MRAD <= convergence <= high + CONVERGENCE_TOLERANCE_MRAD:
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise LibraryError(
            f"The library holds convergence semi-angles of {span} mrad at {kv:g} kV"
            f"{' out of focus' if optics.defocus_nm else ''}, {convergence:g} mrad is too far from them. Build one "
            f"with 'stemctx simulate library --convergence-mrad {convergence:g}'."
        )
    most = grid.farthest_defocus_nm(convergence)
    if abs(optics.defocus_nm) > most:
        raise LibraryError(
            f"A defocus of {optics.defocus_nm:g} nm is beyond the {most:g} nm that the library holds at {kv:g} kV and "
            f"{convergence:g} mrad. "
            "Focus the probe, or build a library with a larger '--defocus-nm'."
        )
    if optics.astigmatism_nm:
        _check_astigmatism(grid, optics, kv)


def _check_astigmatism(grid: NodeGrid, optics: Optics, kv: float) -> None:
    if not grid.astigmatic:
        raise LibraryError(
            f"The library holds no astigmatism at {kv:g} kV. Correct it, or build a library with "
            f"'stemctx simulate library --high-tension-kv {kv:g} --astigmatism-nm 2 --astigmatism-nm 4'."
        )
    low, high = ASTIGMATIC_MRAD_FROM_NODE
    own = grid.astigmatic[0].convergence_semi_angle_mrad
    if not own + low <= optics.convergence_semi_angle_mrad <= own + high:
        raise LibraryError(
            f"The library holds an astigmatism for convergences of {own + low:g} to {own + high:g} mrad at {kv:g} kV, "
            f"not {optics.convergence_semi_angle_mrad:g} mrad. Correct the astigmatism, or build a library whose first "
            f"'--convergence-mrad' is {optics.convergence_semi_angle_mrad:g}."
        )
    scale = grid.phase_scale(optics.convergence_semi_angle_mrad)
    most, farthest = grid.astigmatisms_nm[-1] / scale, grid.astigmatic_defoci_nm[-1] / scale
    if optics.astigmatism_nm > most or abs(optics.defocus_nm) > farthest:
        raise LibraryError(
            f"An astigmatism of {optics.astigmatism_nm:g} nm at a defocus of {optics.defocus_nm:g} nm is beyond the "
            f"{most:.3g} nm and {farthest:.3g} nm that the library holds at {kv:g} kV and "
            f"{optics.convergence_semi_angle_mrad:g} mrad. Correct the probe, or build a library with larger ones."
        )


def check_detector(optics: Optics, innermost_mrad: float, outermost_mrad: float) -> None:
    """Refuse angles that are not held, too close to the bright-field disc, or too narrow."""
    inner, outer = optics.inner_mrad, optics.outer_mrad
    lowest = max(innermost_mrad, optics.convergence_semi_angle_mrad + INNER_MARGIN_MRAD)
    if inner < lowest or outer > outermost_mrad or outer - inner < NARROWEST_DETECTOR_MRAD:
        raise LibraryError(
            f"The detector {inner:g}-{outer:g} mrad is outside what columns can be added up for: "
            f"inner angle at least {lowest:g}, outer at most {outermost_mrad:g} at {optics.high_tension_kv:g} kV, "
            f"{NARROWEST_DETECTOR_MRAD:g} mrad wide or more. Check the angles, or use another detector."
        )
