"""Counting over overlapping fields: every finding and every judged site once."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtime.autonomy.microscope import Pair
from realtime.autonomy.policies.area import Area
from realtime.autonomy.policies.sites import (
    SAME_SITE_NM,
    Finding,
    Fraction,
    distance_nm,
    fraction,
    judged_sites,
)
from realtime.autonomy.session import Session
from realtime.autonomy.views import SessionTarget, View
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.errors import InputError
from stemctx_core.results import SUBLATTICES


class Findings:
    """Sites that were decided, each once although fields overlap; positions are compared with drift taken off."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.all: list[Finding] = []

    def index(self, position_nm: Pair, seen_ns: int) -> int | None:
        """Which finding is the site at a place and time; None where none is."""
        for index, known in enumerate(self.all):
            place = self._session.drift.predict((known.y_nm, known.x_nm), known.seen_ns, seen_ns)
            if distance_nm(place, position_nm) < SAME_SITE_NM:
                return index
        return None

    def knows(self, target: SessionTarget) -> bool:
        """Whether a target is among them."""
        return self.index((target.y_nm, target.x_nm), target.seen_ns) is not None

    def add(self, found: Finding) -> None:
        """Take a finding; of two of one site the surer stays."""
        index = self.index((found.y_nm, found.x_nm), found.seen_ns)
        if index is None:
            self.all.append(found)
        elif found.probability > self.all[index].probability:
            self.all[index] = found


class Counts:
    """How many sites were judged: each in the field whose middle is nearest, so that overlaps count once."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self._host = ""
        self._candidates: tuple[Candidate, ...] = ()
        self._centres: list[Pair] = []
        self._sites: list[tuple[NDArray[np.float64], NDArray[np.int8]]] = []

    def add(self, view: View) -> None:
        """Take a field that was judged."""
        sites, area = view.result.sites, self._area
        self._host, self._candidates = view.result.context.host, view.result.candidates
        positions = np.stack(view.to_nm(sites.y_px, sites.x_px), axis=1)
        counted = judged_sites(view.result)
        away = np.abs(positions - np.array(area.centre_nm))
        counted &= (away <= np.array(area.size_nm) / 2).all(axis=1)
        self._centres.append(view.request.centre_nm)
        self._sites.append((positions[counted], sites.sublattice[counted]))

    def judged(self) -> tuple[int, int]:
        """Metal and chalcogen sites inside the area that were judged."""
        if not self._centres:
            return 0, 0
        nearest = cKDTree(np.array(self._centres))
        total = np.zeros(2, int)
        for number, (positions, sublattice) in enumerate(self._sites):
            if len(positions):
                own = nearest.query(positions)[1] == number
                total += np.bincount(sublattice[own], minlength=2)[:2]
        return int(total[0]), int(total[1])

    def fractions(self, findings: Collection[Finding], confidence: float = 0.95) -> dict[str, Fraction]:
        """Species to its share of the sites of its sublattice, for every defect that could have been found."""
        return {
            c.species: self.fraction(findings, {c.species}, confidence) for c in self._candidates if c.is_defect
        }

    def fraction(
        self, findings: Collection[Finding], species: Collection[str], confidence: float = 0.95
    ) -> Fraction:
        """Share of the sites of a sublattice that hold one of some species.

        Raises
        ------
        InputError
            Species of both sublattices.
        """
        sublattices = {c.sublattice for c in self._candidates if c.species in species}
        if len(sublattices) > 1:
            raise InputError(
                f"{' and '.join(sorted(species))} stand on different sublattices. Count them one after the other."
            )
        per_nm2 = 100 / materials.host(self._host).cell_angstrom2
        of = self.judged()[SUBLATTICES.index(sublattices.pop())] if sublattices else 0
        count = sum(f.species in species and self._area.holds((f.y_nm, f.x_nm)) for f in findings)
        return fraction(count, of, per_nm2, confidence)
