"""The optics of a context, and what of them is missing.

Without the energy, the convergence angle or the detector's angles, candidates are predicted for all that are
plausible, and weighted by what the frame's own X2/M says of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.materials import Host
from stemctx_core.context import ImagingContext
from stemctx_core.encoding.plausible import host_ratio, plausible_optics
from stemctx_core.scene import Missing, Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM, Optics

#: What missing values are taken for where the library is asked what else they could be; one angle of a detector without
#: the other says too little of it.
_TYPICAL: Final = {
    "high_tension_kv": 80.0,
    "convergence_semi_angle_mrad": 30.0,
    "inner_mrad": 70.0,
    "outer_mrad": 200.0,
}
_MISSING: Final = {
    "high_tension_kv": Missing.HIGH_TENSION,
    "convergence_semi_angle_mrad": Missing.CONVERGENCE,
    "inner_mrad": Missing.DETECTOR,
    "outer_mrad": Missing.DETECTOR,
}


@dataclass(frozen=True)
class Knowledge:
    """Optics of a frame as far as they are known.

    Attributes
    ----------
    optics
        As declared, or from the middle of what is plausible.
    missing
        What of them is not known.
    plausible
        All that they may be; only `optics` where nothing is missing.
    expected_ratio
        X2/M to name the sublattices by: one for each of what is plausible.
    warnings
        What was missing, in words.
    """

    optics: Optics
    missing: frozenset[Missing]
    plausible: tuple[Optics, ...]
    expected_ratio: tuple[float, ...]
    warnings: tuple[str, ...] = ()


def typical(name: str) -> float:
    """What a missing value of a context is taken for where something has to stand in its place."""
    return _TYPICAL[name]


def knowledge(library: ResponseLibrary, context: ImagingContext) -> Knowledge:
    """What a context says of the optics.

    Raises
    ------
    LibraryError
        Where the library has no answer for what is known.
    """
    host = materials.host(context.host)
    reasons = context.missing()
    values = {name: typical(name) if name in reasons else context.value(name) for name in _MISSING}
    declared = Optics(**values, sigma_angstrom=TYPICAL_SIGMA_ANGSTROM)
    if not reasons:
        library.check(declared)
        return Knowledge(declared, frozenset(), (declared,), (host_ratio(library, host, declared),))
    missing = frozenset(_MISSING[name] for name in reasons)
    plausible = _plausible(library, host, declared, missing)
    ratios = tuple(host_ratio(library, host, o) for o in plausible)
    logs = np.log(ratios)
    middle = plausible[int(np.argmin(abs(logs - logs.mean())))]
    named = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    words = f"Not known ({named}): averaged over what is plausible."
    return Knowledge(middle, missing, plausible, ratios, (words,))


@lru_cache(maxsize=64)
def _plausible(
    library: ResponseLibrary, host: Host, declared: Optics, missing: frozenset[Missing]
) -> tuple[Optics, ...]:
    scene = Scene(host, (), declared, 1.0, 0.0, 1.0, Nuisance(), missing | {Missing.RATIO})
    points = plausible_optics(library, scene)
    return tuple(replace(optics, sigma_angstrom=TYPICAL_SIGMA_ANGSTROM) for optics, _ in points)
