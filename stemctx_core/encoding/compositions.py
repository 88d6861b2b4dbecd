"""Candidates and contexts as numbers: electron-shell occupancies, optics, and what is known how well.

Nothing is one-hot but the sublattice: an element, host, energy or detector that was never trained on has a place
between those that were. A value that is not known is zero with its flag at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.chemistry.elements import SUBSHELLS, shell_encoding
from stemctx_core.scene import Missing, Scene

_SHELLS: Final = len(SUBSHELLS) + 1
#: Numbers that describe a candidate: shells summed over its atoms, atoms, sublattice, host's own, vacancy beside it.
COMPOSITION_WIDTH: Final = _SHELLS + 4

#: Numbers that describe a scene, in order, with how many there are of each.
CONTEXT_PARTS: Final = {
    "dose": 1,
    "high_tension": 2,
    "convergence": 2,
    "detector": 3,
    "source": 3,
    "background": 3,
    "ratio": 4,
    "scatter": 3,
    "errors": 3,
    "lattice": 1,
    "metal": _SHELLS,
    "chalcogen": _SHELLS,
}
CONTEXT_WIDTH: Final = sum(CONTEXT_PARTS.values())


def context_slice(part: str) -> slice:
    """Where a part of `CONTEXT_PARTS` stands in the context vector."""
    names = list(CONTEXT_PARTS)
    start = sum(CONTEXT_PARTS[n] for n in names[: names.index(part)])
    return slice(start, start + CONTEXT_PARTS[part])


@lru_cache(maxsize=1024)
def composition(candidate: Candidate) -> NDArray[np.float32]:
    """(COMPOSITION_WIDTH,) description of a candidate's column."""
    atoms = columns.elements(candidate.column)
    shells = sum((shell_encoding(a) for a in atoms), np.zeros(_SHELLS, np.float32))
    on_metal = candidate.sublattice is Sublattice.METAL
    flags = [len(atoms), 1.0 if on_metal else -1.0, not candidate.is_defect, candidate.vacancy_beside]
    return np.concatenate([shells, flags]).astype(np.float32)


def compositions(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """(C, COMPOSITION_WIDTH) of a list."""
    return np.stack([composition(c) for c in candidates])


def context_vector(
    scene: Scene, log_dose: float, expected_ratio: float, ratio_factor: float
) -> NDArray[np.float32]:
    """(CONTEXT_WIDTH,) description of a scene, each number of the order of one.

    Parameters
    ----------
    log_dose
        log10 of the electrons per Å² times the peak of the brighter host column.
    expected_ratio
        Simulated X2/M of the host's columns, averaged over what is plausible where optics are missing.
    ratio_factor
        The frame's own X2/M over that one.
    """
    o, n, missing = scene.optics, scene.nuisance, scene.missing
    energy, convergence, detector, source, background, ratio = (
        float(m not in missing)
        for m in (
            Missing.HIGH_TENSION,
            Missing.CONVERGENCE,
            Missing.DETECTOR,
            Missing.SOURCE_SIZE,
            Missing.BACKGROUND,
            Missing.RATIO,
        )
    )
    numbers = [
        log_dose - 3.5,
        energy * np.log(o.high_tension_kv / 100),
        energy,
        convergence * (o.convergence_semi_angle_mrad - 30) / 10,
        convergence,
        detector * (o.inner_mrad - 70) / 30,
        detector * (o.outer_mrad - 160) / 50,
        detector,
        source * (o.sigma_angstrom - 0.45) / 0.1,
        _size(n.sigma_angstrom),
        source,
        background * np.log1p(20 * scene.background) / 2,
        _size(n.background),
        background,
        np.log(expected_ratio),
        ratio * 5 * np.log(ratio_factor),
        _size(n.ratio),
        ratio,
        n.jitter_angstrom / 0.05 - 1,
        n.shift_angstrom / 0.05 - 1,
        n.amplitude / 0.05,
        _size(n.gain),
        n.response / 0.03,
        n.defects / 0.03 - 1,
        (scene.host.a_angstrom - 3.3) / 0.2,
    ]
    shells = [shell_encoding(scene.host.metal), shell_encoding(scene.host.chalcogen)]
    return np.concatenate([np.array(numbers), *shells]).astype(np.float32)


def _size(error: float) -> float:
    return float(np.log10(max(error, 1e-4)) + 2)
