"""Under which conditions, beam energy and detector, two candidates are told apart with the least dose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.planner import TYPICAL_SIGMA_ANGSTROM, DoseEstimate, dose_to_tell
from stemctx_core.simulation.library import ResponseLibrary

#: Detectors that are tried where none are named: inner and outer angle (mrad).
DETECTORS: Final = tuple(
    (inner, outer)
    for inner in (40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
    for outer in (100.0, 150.0, 200.0, 250.0)
    if outer > inner
)


@dataclass(frozen=True)
class Condition:
    """Beam energy and detector, and the dose that is needed with them."""

    high_tension_kv: float
    inner_mrad: float
    outer_mrad: float
    estimate: DoseEstimate


def conditions(
    library: ResponseLibrary,
    host: str,
    dopants: Iterable[str],
    species_a: str,
    species_b: str,
    error_rate: float = 0.01,
    *,
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM,
    high_tensions_kv: Iterable[float] | None = None,
    detectors: Iterable[tuple[float, float]] = DETECTORS,
) -> tuple[Condition, ...]:
    """Every energy with every detector that the library can answer for, the least dose first.

    Damage is not in it: which energy a crystal endures is the user's to say by `high_tensions_kv`.
    """
    found = []
    named, detectors = tuple(dopants), tuple(detectors)
    energies = library.high_tensions_kv if high_tensions_kv is None else tuple(high_tensions_kv)
    refusal = "no energy or no detector was named"
    for kv in energies:
        for inner, outer in detectors:
            energy, convergence, low, high = (
                Known(v, Source.USER, "planned")
                for v in (kv, library.convergence_semi_angle_mrad, inner, outer)
            )
            context = ImagingContext(host, named, energy, convergence, low, high)
            try:
                library.check(kv, convergence.value, inner, outer)
            except LibraryError as error:
                refusal = str(error)
                continue
            estimate = dose_to_tell(
                library, context, species_a, species_b, error_rate, sigma_angstrom=sigma_angstrom
            )
            found.append(Condition(kv, inner, outer, estimate))
    if not found:
        raise InputError(f"The library can answer for none of these energies and detectors: {refusal}")
    # Where no dose is enough, the condition that separates them best comes first.
    return tuple(sorted(found, key=lambda c: (c.estimate.dose_e_per_angstrom2, -c.estimate.separation)))


def best_condition(
    library: ResponseLibrary,
    host: str,
    dopants: Iterable[str],
    species_a: str,
    species_b: str,
    error_rate: float = 0.01,
    *,
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM,
    high_tensions_kv: Iterable[float] | None = None,
    detectors: Iterable[tuple[float, float]] = DETECTORS,
) -> Condition:
    """Energy and detector that tell two species apart with the least dose; see `conditions`."""
    return conditions(
        library, host, tuple(dopants), species_a, species_b, error_rate,
        sigma_angstrom=sigma_angstrom, high_tensions_kv=high_tensions_kv, detectors=detectors,
    )[0]  # fmt: skip
