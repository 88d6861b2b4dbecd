"""The fixed list of species that a net with one output a species answers in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.chemistry.columns import CHALCOGENS
from stemctx_core.chemistry.materials import DOPANTS

_METALS: Final = (*DOPANTS, "Mo", "W")
#: What stands in a column: 17 metals, a vacant metal site, and four columns of each chalcogen.
SPECIES: Final = (
    *_METALS,
    "vac_M",
    *(name for x in CHALCOGENS for name in (f"{x}2", f"vac_{x}", f"vac_{x}2", f"O_{x}")),
)


def species_of(candidate: Candidate) -> str | None:
    """Name of a candidate in `SPECIES`, or None where the list has none.

    A dopant with a vacancy beside it is its dopant's column.
    """
    if candidate.role is Role.METAL_VACANCY:
        return "vac_M"
    if candidate.sublattice is Sublattice.METAL:
        return candidate.column if candidate.column in _METALS else None
    if candidate.role in (Role.CHALCOGEN_PAIR, Role.DOUBLE_SUBSTITUTION):
        return f"{candidate.column.partition('+')[0]}2"
    return candidate.species if candidate.species in SPECIES else None


def species_rows(candidates: Sequence[Candidate]) -> NDArray[np.int64]:
    """(C,) index of each candidate in `SPECIES`, -1 where the list has none."""
    names = [species_of(c) for c in candidates]
    return np.array([-1 if name is None else SPECIES.index(name) for name in names], np.int64)


def species_mask(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """(SPECIES,) 1 where a species is among the candidates."""
    mask = np.zeros(len(SPECIES), np.float32)
    rows = species_rows(candidates)
    mask[rows[rows >= 0]] = 1
    return mask
