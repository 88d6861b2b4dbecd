"""Probes besides the one in focus: what is simulated of a column for another convergence, defocus or astigmatism.

A node enters the library as a difference from the response in focus, taken with the same reduced set of
displacements and directions, so that what the reduced set neglects cancels to first order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns, elements
from stemctx_core.simulation.multislice import (
    VACUUM_ANGSTROM,
    MultisliceSettings,
    probe_radii_angstrom,
    ring_response,
)

#: Atoms focus the beam a little: a response is symmetric about a focus this far below the column's middle (Å).
#: Measured at 80 kV and 30 mrad: 0.6 Å for V and Se, 1.05 Å for W, 1.2 Å for O+Se, 1.7 Å for Se+Se.
BEST_FOCUS_ANGSTROM: Final = {"single": 0.8, "pair": 1.5}
#: Lateral displacement of a pair in the reduced set, near √2 times the thermal one (Å).
PAIR_DISPLACEMENT_ANGSTROM: Final = 0.14
#: These two directions leave out the harmonics 1 and 2 of a displaced pair.
_PAIR_DIRECTIONS: Final = (np.pi / 4, 3 * np.pi / 4)
#: Probe lines on which cos 4θ is 0 and cos 2θ is ±1/√2, so that their mean and difference are m = 0 and m = 2.
_LINES: Final = (np.pi / 8, 3 * np.pi / 8)
_HARMONICS: Final = np.array([[0.5, 0.5], [np.sqrt(0.5), -np.sqrt(0.5)]])


#: Metals that are simulated with aberrations. What an aberration takes from the peak hardly depends on the element:
#: others are interpolated in atomic number, within 0.1 % of the peak.
ABERRATED_METALS: Final = ("Ti", "Zn", "Rh", "W", "Au")


@dataclass(frozen=True, order=True)
class Node:
    """A probe that the library holds.

    Attributes
    ----------
    defocus_nm
        Magnitude: under- and overfocus of a monolayer differ by little.
    """

    convergence_semi_angle_mrad: float
    defocus_nm: float = 0.0
    astigmatism_nm: float = 0.0

    @property
    def name(self) -> str:
        """For the names of files."""
        return f"{self.convergence_semi_angle_mrad:g}mrad_{self.defocus_nm:g}nm_{self.astigmatism_nm:g}nm"

    @property
    def title(self) -> str:
        """For people."""
        parts = [f"{self.convergence_semi_angle_mrad:g} mrad"]
        parts += [f"defocus {self.defocus_nm:g} nm"] if self.defocus_nm else []
        parts += [f"astigmatism {self.astigmatism_nm:g} nm"] if self.astigmatism_nm else []
        return ", ".join(parts)


def relatives(column: str, node: Node, others: tuple[str, ...]) -> dict[str, float]:
    """Columns, and their shares, that stand for one that is not simulated at a node; none where it is.

    Parameters
    ----------
    others
        Columns of the library.
    """
    if not node.defocus_nm and not node.astigmatism_nm:
        return {}
    atoms = columns.elements(column)
    if len(atoms) == 2:
        mixed = atoms[0] != atoms[1] and atoms[0] in columns.CHALCOGENS
        likes = [f"{e}+{e}" for e in atoms]
        return dict.fromkeys(likes, 0.5) if mixed and set(likes) <= set(others) else {}
    if column not in columns.METALS or column in ABERRATED_METALS or not set(ABERRATED_METALS) <= set(others):
        return {}
    numbers = [elements.atomic_number(m) for m in ABERRATED_METALS]
    number = min(max(elements.atomic_number(column), numbers[0]), numbers[-1])
    above = next(i for i, n in enumerate(numbers) if n >= number and i)
    share = (number - numbers[above - 1]) / (numbers[above] - numbers[above - 1])
    return {ABERRATED_METALS[above - 1]: 1 - share, ABERRATED_METALS[above]: share}


def pair_displacement_px(settings: MultisliceSettings) -> int:
    """Displacement of a pair in the reduced set, in pixels of the potential; even, so that its middle is on one."""
    return 2 * round(PAIR_DISPLACEMENT_ANGSTROM / settings.sampling_angstrom / 2)


def reduced_response(column: str, node: Node, settings: MultisliceSettings) -> NDArray[np.float32]:
    """Ring response of a column for one node.

    Parameters
    ----------
    column
        Key as in `stemctx_core.chemistry.columns`.
    node
        Replaces the convergence of `settings`, and its aberrations.

    Returns
    -------
    numpy.ndarray
        (harmonics, displacements, radii, rings). Harmonics are m = 0, and for an astigmatic probe out of focus
        m = 2 of the angle to its long axis. In focus an astigmatic probe looks the same after a quarter turn, so
        that m = 2 vanishes (to 0.1 % of the peak) and one line is enough. Displacements are 0 and `pair_displacement_px` for a pair, and 0 alone for a
        single atom and for an astigmatic probe.
    """
    separation = columns.separation_angstrom(column)
    pixel = settings.sampling_angstrom
    middle = settings.grid_points // 2
    pair = columns.is_pair(column)
    settings = replace(
        settings,
        convergence_semi_angle_mrad=node.convergence_semi_angle_mrad,
        focus_angstrom=_focus_angstrom(column, node, separation),
        astigmatism_angstrom=10 * node.astigmatism_nm,
    )
    height = separation + 2 * VACUUM_ANGSTROM
    slices = (separation, height - separation) if pair else (height,)
    responses = []
    for apart in (0, pair_displacement_px(settings)) if pair and not node.astigmatism_nm else (0,):
        xs = (middle - apart // 2, middle + apart // 2)
        planes = (-0.5, 0.5)
        atoms = [
            (e, x * pixel, middle * pixel, plane)
            for e, x, plane in zip(columns.elements(column), xs, planes, strict=False)
        ]
        turning = bool(node.astigmatism_nm and node.defocus_nm)
        lines = (
            _LINES if turning else _LINES[:1] if node.astigmatism_nm else _PAIR_DIRECTIONS if apart else (0.0,)
        )
        rings = _along_lines(atoms, separation, lines, settings, slices)
        responses.append(np.tensordot(_HARMONICS, rings, axes=1) if turning else rings.mean(axis=0)[None])
    return np.stack(responses, axis=1).astype(np.float32)


def _along_lines(
    atoms: list[tuple[str, float, float, float]],
    separation: float,
    lines: tuple[float, ...],
    settings: MultisliceSettings,
    slices: tuple[float, ...],
) -> NDArray[np.float32]:
    radii = probe_radii_angstrom()
    at = settings.grid_points // 2 * settings.sampling_angstrom
    positions = np.concatenate([at + radii[:, None] * (np.cos(t), np.sin(t)) for t in lines])
    rings = ring_response(atoms, separation, positions, settings, slices)
    return rings.reshape(len(lines), len(radii), -1)


def _focus_angstrom(column: str, node: Node, separation: float) -> float:
    """Depth of the focus below the first atom.

    The response in focus has its focus on the first chalcogen plane. A defocus counts from the plane about which it
    is symmetric.
    """
    if not node.defocus_nm and not node.astigmatism_nm:
        return -separation / 2 if column in columns.METALS else 0.0
    atoms = columns.elements(column)
    # Averages over which of two unlike atoms the beam meets first: the heavier one carries the signal.
    weights = np.array([elements.atomic_number(e) for e in atoms], float) ** 1.5
    depth = float(weights @ (np.arange(len(atoms)) * separation) / weights.sum())
    return 10 * node.defocus_nm + depth + BEST_FOCUS_ANGSTROM["pair" if len(atoms) > 1 else "single"]
