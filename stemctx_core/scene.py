"""What is imaged and how, with what is not known of it: the records that every prediction rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import InputError
from stemctx_core.simulation.optics import Optics

#: What a value is taken to be where nothing is known of it: middle and standard deviation. Source size (Å) and
#: background (units of the brighter host column) are the benchmark's ranges, uniform 0.35-0.55 and 0-0.06.
UNKNOWN_SIGMA_ANGSTROM: Final = (0.45, 0.2 / 12**0.5)
UNKNOWN_BACKGROUND: Final = (0.03, 0.06 / 12**0.5)
UNKNOWN_RATIO_SD: Final = 0.1


class Missing(StrEnum):
    """A value of a scene that is not known.

    Of missing optics the scene still holds values: they are only what `Scene.ratio` refers to.
    """

    HIGH_TENSION = "high_tension"
    CONVERGENCE = "convergence"
    DETECTOR = "detector"
    SOURCE_SIZE = "source_size"
    BACKGROUND = "background"
    RATIO = "ratio"


#: Missing values over which a prediction is averaged, since they change the responses themselves.
MISSING_OPTICS: Final = frozenset({Missing.HIGH_TENSION, Missing.CONVERGENCE, Missing.DETECTOR})


@dataclass(frozen=True)
class Nuisance:
    """How far a frame may stray from the prediction, standard deviations.

    Attributes
    ----------
    jitter_angstrom, shift_angstrom
        Displacement of single columns, and of the whole patch (error of the site grid), per axis.
    amplitude
        Scatter of column amplitudes, relative.
    gain, ratio
        Error of the intensity scale and of the ratio X2/M, relative.
    background
        Error of the background in units of the brighter host column's peak.
    sigma_angstrom
        Error of the effective source.
    response
        Error of a candidate's simulated response, relative.
    defects
        Probability that a neighbour is not the host's own column.
    """

    jitter_angstrom: float = 0.05
    shift_angstrom: float = 0.05
    amplitude: float = 0.0
    gain: float = 0.002
    ratio: float = 0.005
    background: float = 0.002
    sigma_angstrom: float = 0.005
    response: float = 0.01
    defects: float = 0.03


@dataclass(frozen=True)
class Scene:
    """Everything a prediction rests on.

    Attributes
    ----------
    host, candidates
        The crystal and what a site of it may be.
    optics
        Probe, detector and effective source.
    dose_e_per_angstrom2
        Electrons per area.
    background
        In units of the brighter host column's peak.
    ratio
        Factor on every column of the chalcogen sublattice: what the frame's own X2/M is over the simulated one.
    nuisance
        Uncertainties.
    missing
        What is not known; see `without`.
    """

    host: Host
    candidates: tuple[Candidate, ...]
    optics: Optics
    dose_e_per_angstrom2: float
    background: float
    ratio: float
    nuisance: Nuisance
    missing: frozenset[Missing] = frozenset()


def without(scene: Scene, missing: Iterable[Missing]) -> Scene:
    """The scene with some of its values taken for unknown: the middle of what is plausible, and its spread."""
    missing = frozenset(missing)
    optics, background, ratio, nuisance = scene.optics, scene.background, scene.ratio, scene.nuisance
    if Missing.SOURCE_SIZE in missing:
        optics = replace(optics, sigma_angstrom=UNKNOWN_SIGMA_ANGSTROM[0])
        nuisance = replace(nuisance, sigma_angstrom=UNKNOWN_SIGMA_ANGSTROM[1])
    if Missing.BACKGROUND in missing:
        background = UNKNOWN_BACKGROUND[0]
        nuisance = replace(nuisance, background=UNKNOWN_BACKGROUND[1])
    if Missing.RATIO in missing:
        ratio = 1.0
        nuisance = replace(nuisance, ratio=UNKNOWN_RATIO_SD)
    return replace(
        scene,
        optics=optics,
        background=background,
        ratio=ratio,
        nuisance=nuisance,
        missing=scene.missing | missing,
    )


def host_columns(host: Host) -> tuple[str, str]:
    """Library keys of the host's metal and full chalcogen column."""
    return host.metal, f"{host.chalcogen}+{host.chalcogen}"


def host_rows(candidates: Sequence[Candidate]) -> tuple[int, int]:
    """Rows of the host's metal and full chalcogen column in a candidate list.

    Raises
    ------
    InputError
        A list that lacks one of them, or names it twice.
    """
    rows = []
    for sublattice in Sublattice:
        own = [i for i, c in enumerate(candidates) if not c.is_defect and c.sublattice is sublattice]
        if len(own) != 1:
            raise InputError(
                f"The candidate list has {len(own)} columns of the host on its {sublattice.value} sublattice; "
                "it needs exactly one. Make the list with 'candidates(host, dopants)'."
            )
        rows.append(own[0])
    return rows[0], rows[1]


def check_candidates(host: Host, candidates: Sequence[Candidate]) -> None:
    """Raise `InputError` for a list that is empty, lacks the host, or names a column twice."""
    if not candidates:
        raise InputError("The candidate list is empty. Make one with 'candidates(host, dopants)'.")
    host_rows(candidates)
    seen: dict[tuple[str, Sublattice, bool], Candidate] = {}
    for candidate in candidates:
        key = (candidate.column, candidate.sublattice, candidate.vacancy_beside)
        if key in seen:
            raise InputError(
                f"The candidates {seen[key].species} and {candidate.species} are the same column in {host.name}. "
                "Name each once."
            )
        seen[key] = candidate
