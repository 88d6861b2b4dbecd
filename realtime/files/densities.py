"""How many defects of each kind stand on an area, with intervals that counting alone would give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role, Sublattice
from stemctx_core.results import DECISIONS, SUBLATTICES, Decision, FrameResult

LEVEL: Final = 0.95
_CM2_PER_ANGSTROM2: Final = 1e-16


class Density(NamedTuple):
    """Flags of one species on the area that was decided.

    Attributes
    ----------
    area_cm2
        Decided sites of the species' sublattice, each with the area of a unit cell.
    low_per_cm2, high_per_cm2
        Exact interval of a Poisson count, at `LEVEL`.
    """

    species: str
    role: Role
    flags: int
    area_cm2: float
    per_cm2: float
    low_per_cm2: float
    high_per_cm2: float


def densities(result: FrameResult) -> list[Density]:
    """Density of every defect that was looked for in a frame; none of one that was refused.

    The area is that of the sites that were passed or flagged: what is under dirt, at the border or undecided adds
    neither flags nor area. Of a species that was not found, the upper end of the interval says what would have been
    seen. Intervals know of counting only, not of flags that are wrong or missed.
    """
    if result.refusal is not None:
        return []
    cell = cell_cm2(result.context.host)
    areas = {sublattice: _decided(result, sublattice) * cell for sublattice in Sublattice}
    told = result.flag_counts()
    looked_for = {c.species: c for c in result.candidates if c.is_defect}
    return [
        _density(species, c.role, told.get(species, 0), areas[c.sublattice])
        for species, c in looked_for.items()
        if areas[c.sublattice] > 0
    ]


def pooled(found: Iterable[Density]) -> list[Density]:
    """Density of each species over several frames: flags and areas added up."""
    kept: dict[str, Density] = {}
    for new in found:
        old = kept.get(new.species)
        flags, area = (
            (new.flags, new.area_cm2) if old is None else (old.flags + new.flags, old.area_cm2 + new.area_cm2)
        )
        kept[new.species] = _density(new.species, new.role, flags, area)
    return list(kept.values())


def cell_cm2(host: str) -> float:
    """Area of the unit cell of a monolayer (cm²)."""
    return materials.host(host).cell_angstrom2 * _CM2_PER_ANGSTROM2


def decided_cm2(result: FrameResult) -> float:
    """Area of the metal sites that were passed or flagged (cm²)."""
    return _decided(result, Sublattice.METAL) * cell_cm2(result.context.host)


def interval(count: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of the mean of a Poisson count k: (χ²(α/2; 2k)/2, χ²(1 − α/2; 2k + 2)/2) with α = 1 − level.

    F. Garwood, Biometrika 28, 437 (1936). Half the quantile of χ² with 2k degrees of freedom is that of the gamma
    distribution of shape k.
    """
    from scipy.special import gammaincinv  # here: the command line starts without it

    tail = (1 - level) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1 - tail))


def _decided(result: FrameResult, sublattice: Sublattice) -> int:
    here = result.sites.sublattice == SUBLATTICES.index(sublattice)
    return int(np.count_nonzero(here & (result.sites.decision != DECISIONS.index(Decision.ABSTAIN))))


def _density(species: str, role: Role, flags: int, area_cm2: float) -> Density:
    low, high = interval(flags)
    return Density(species, role, flags, area_cm2, flags / area_cm2, low / area_cm2, high / area_cm2)
