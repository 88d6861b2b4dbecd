"""Under which conditions, beam energy and detector, some candidates are told apart with the least dose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.planning.pairs import DoseEstimate
from stemctx_core.planning.planner import dose_to_tell_all
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM

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


@dataclass(frozen=True)
class Question:
    """What is to be told apart.

    Attributes
    ----------
    host, dopants
        The crystal, and the elements looked for on its metal site.
    species
        Two or more, such as ``("vac_Se", "O_Se")``.
    error_rate
        Share of the sites of any two of them that may be confused, when they are equally frequent.
    sigma_angstrom
        Effective source (standard deviation per axis).
    """

    host: str
    dopants: tuple[str, ...]
    species: tuple[str, ...]
    error_rate: float = 0.01
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM


def conditions(
    library: ResponseLibrary,
    question: Question,
    high_tensions_kv: Iterable[float] | None = None,
    detectors: Iterable[tuple[float, float]] = DETECTORS,
) -> tuple[Condition, ...]:
    """Every energy with every detector that the library can answer for, the least dose first.

    Damage is not in it: which energy a crystal endures is the user's to say by `high_tensions_kv`.

    Raises
    ------
    InputError
        Unknown host or species, or no condition that the library holds.
    """
    found = []
    detectors = tuple(detectors)
    energies = library.high_tensions_kv if high_tensions_kv is None else tuple(high_tensions_kv)
    refusal = "no energy or no detector was named"
    for kv in energies:
        for inner, outer in detectors:
            energy, convergence, low, high = (
                Known(v, Source.USER, "planned")
                for v in (kv, library.convergence_semi_angle_mrad, inner, outer)
            )
            context = ImagingContext(question.host, question.dopants, energy, convergence, low, high)
            try:
                library.check(kv, convergence.value, inner, outer)
            except LibraryError as error:
                refusal = str(error)
                continue
            estimate = dose_to_tell_all(
                library,
                context,
                question.species,
                question.error_rate,
                sigma_angstrom=question.sigma_angstrom,
            )
            found.append(Condition(kv, inner, outer, estimate))
    if not found:
        raise InputError(f"The library can answer for none of these energies and detectors: {refusal}")
    # Where no dose is enough, the condition that separates them best comes first.
    return tuple(sorted(found, key=lambda c: (c.estimate.dose_e_per_angstrom2, -c.estimate.separation)))


def best_condition(
    library: ResponseLibrary,
    question: Question,
    high_tensions_kv: Iterable[float] | None = None,
    detectors: Iterable[tuple[float, float]] = DETECTORS,
) -> Condition:
    """Energy and detector that tell the species apart with the least dose; see `conditions`."""
    return conditions(library, question, high_tensions_kv, detectors)[0]


def advice(
    species: Sequence[str], here: Condition, dose_e_per_angstrom2: float, ranked: Sequence[Condition]
) -> str:
    """What would tell a set apart: more dose, or another condition.

    Parameters
    ----------
    here
        The condition that is in use.
    dose_e_per_angstrom2
        The dose that is in use.
    ranked
        Others, from `conditions`.
    """
    named = f"{{{', '.join(species)}}}"
    factor = here.estimate.dose_e_per_angstrom2 / dose_e_per_angstrom2
    if factor <= 1:
        return f"{named}: told apart with the dose in use."
    more = f"{factor:.2g} times the dose" if math.isfinite(factor) else "no dose is enough with this condition"
    best = ranked[0]
    if best.estimate.dose_e_per_angstrom2 >= 0.8 * here.estimate.dose_e_per_angstrom2:
        return f"{named}: {more}; no other condition needs much less."
    return (
        f"{named}: {more}; or {best.inner_mrad:g}-{best.outer_mrad:g} mrad at {best.high_tension_kv:g} kV with "
        f"{best.estimate.dose_e_per_angstrom2 / dose_e_per_angstrom2:.2g} times the dose."
    )
