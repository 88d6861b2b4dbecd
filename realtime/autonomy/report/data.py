"""What a report tells, gathered from a record: areas, counts with their uncertainty, dose, and what was decided of sites."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtime.autonomy.dose_map import DoseMap
from realtime.autonomy.exposing import NO_IMAGE
from realtime.autonomy.policies.sites import Fraction, fraction, judged_sites
from realtime.autonomy.record.reader import RecordedExposure, RecordReader
from realtime.autonomy.report.decided import DecidedSite, decided_sites, limits_reached
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate, Role
from stemctx_core.context import ImagingContext
from stemctx_core.results import SUBLATTICES, Decision, FrameResult

#: Fields at least this wide, as a share of the widest, are the survey; narrower ones are looks at chosen places.
_SURVEY_SHARE: Final = 0.5
#: Two fields with their middles this near to each other are the same one, looked at again.
_SAME_FIELD_NM: Final = 0.05


@dataclass(frozen=True)
class Flag:
    """A site that was flagged in a survey field; y, x in scan coordinates."""

    exposure: int
    y_px: float
    x_px: float
    y_nm: float
    x_nm: float
    species: str
    role: Role
    probability: float


@dataclass(frozen=True)
class ReportData:
    """Everything that a report tells.

    Attributes
    ----------
    survey, looks
        Finished exposures: wide fields, and narrow ones at chosen places.
    rests
        Finished exposures without a frame: the beam rested on a point.
    densities
        Species to its share of the judged sites, each place counted in one field.
    sites_per_cm2
        Of one sublattice of the perfect crystal.
    judged_nm2
        Area of the sites that were judged.
    other_fields
        Fields of another material or with other dopants than the first, which are left out of the counts.
    limits
        Name and message of every limit that was reached.
    """

    exposures: tuple[RecordedExposure, ...]
    survey: tuple[RecordedExposure, ...]
    looks: tuple[RecordedExposure, ...]
    rests: tuple[RecordedExposure, ...]
    flags: tuple[Flag, ...]
    undecided: int
    candidates: tuple[Candidate, ...]
    densities: dict[str, Fraction]
    judged_nm2: float
    sites_per_cm2: float
    other_fields: int
    context: ImagingContext | None
    models: tuple[str, ...]
    sites: tuple[DecidedSite, ...]
    limits: tuple[tuple[str, str], ...]
    dose: DoseMap
    seconds: float

    @property
    def electrons(self) -> float:
        """What all exposures that were begun cost."""
        return sum(e.electrons for e in self.exposures)

    @property
    def unfinished(self) -> int:
        """Exposures that were begun and have no frame."""
        return sum(e.done is None for e in self.exposures)

    @property
    def refused(self) -> int:
        """Frames that could not be judged."""
        return sum(bool(e.done and e.done.refusal) for e in (*self.survey, *self.looks))


def gather(read: RecordReader) -> ReportData:
    """Read a record through; results only, no images."""
    exposures = read.exposures
    done = [e for e in exposures if e.done is not None]
    rests = tuple(e for e in done if e.done and e.done.refusal.startswith(f"{NO_IMAGE.code}:"))
    rested = {e.number for e in rests}
    frames = [e for e in done if e.number not in rested]
    widest = max((e.intended.request.field_of_view_nm for e in frames), default=0.0)
    wide = [e.intended.request.field_of_view_nm >= _SURVEY_SHARE * widest for e in frames]
    survey = tuple(e for e, w in zip(frames, wide, strict=True) if w)
    looks = tuple(e for e, w in zip(frames, wide, strict=True) if not w)
    dose = DoseMap()
    for exposure in exposures:
        dose.add(exposure.intended.request, exposure.intended.dose_e_per_angstrom2)
    counted = _latest(survey)
    centres = np.array([e.intended.request.centre_nm for e in counted]).reshape(-1, 2)
    flags: list[Flag] = []
    sites, undecided = np.zeros(2, int), 0
    material: FrameResult | None = None
    others = 0
    models: dict[str, None] = {}
    nearest = cKDTree(centres) if len(centres) else None
    for index, exposure in enumerate(counted):
        result = read.result(exposure.number)
        if result.refusal is not None:
            continue
        if material is not None and result.candidates != material.candidates:
            others += 1
            continue
        material = result
        models[result.model] = None
        y, x = exposure.intended.request.to_nm(result.sites.y_px, result.sites.x_px)
        own = nearest.query(np.stack([y, x], axis=1))[1] == index if nearest and len(y) else np.zeros(0, bool)
        judged = own & judged_sites(result)
        sites += np.bincount(result.sites.sublattice[judged], minlength=2)[:2]
        undecided += int(judged[result.where(Decision.ABSTAIN)].sum())
        flags += [_flag(exposure, result, int(i), y, x) for i in result.where(Decision.FLAG) if judged[i]]
    cell_nm2 = _cell_nm2(material)
    densities = _densities(material, flags, sites, cell_nm2)
    return ReportData(
        exposures=exposures, survey=survey, looks=looks, rests=rests, flags=tuple(flags), undecided=undecided,
        candidates=material.candidates if material else (), densities=densities, judged_nm2=float(sites.mean()) * cell_nm2 if material else 0.0, sites_per_cm2=1e14 / cell_nm2,
        other_fields=others, context=material.context if material else None, models=tuple(models),
        sites=decided_sites(read), limits=limits_reached(read.decisions), dose=dose, seconds=_seconds(read),
    )  # fmt: skip


def _latest(survey: Iterable[RecordedExposure]) -> list[RecordedExposure]:
    """Of exposures of one place the last."""
    kept: dict[tuple[int, ...], RecordedExposure] = {}
    for exposure in survey:
        request = exposure.intended.request
        key = tuple(round(c / _SAME_FIELD_NM) for c in request.centre_nm)
        if exposure.done is not None and not exposure.done.refusal:
            kept[key] = exposure
    return list(kept.values())


def _flag(exposure: RecordedExposure, result: FrameResult, site: int, y: Any, x: Any) -> Flag:
    table = result.sites
    return Flag(
        exposure.number, float(table.y_px[site]), float(table.x_px[site]), float(y[site]), float(x[site]),
        result.species(site), result.role(site), float(table.probability[site]),
    )  # fmt: skip


def _cell_nm2(material: FrameResult | None) -> float:
    """Area of a unit cell, which holds one site of either sublattice."""
    if material is None:
        return math.inf
    return materials.host(material.context.host).cell_angstrom2 / 100


def _densities(
    material: FrameResult | None, flags: list[Flag], sites: NDArray[np.int_], cell_nm2: float
) -> dict[str, Fraction]:
    found = Counter(f.species for f in flags)
    return {
        c.species: fraction(found[c.species], int(sites[SUBLATTICES.index(c.sublattice)]), 1 / cell_nm2)
        for c in (material.candidates if material else ())
        if c.is_defect
    }


def _seconds(read: RecordReader) -> float:
    """From the first event to the last; a pause between two sessions is part of it."""
    try:
        first, last = (datetime.fromisoformat(read.events[i].utc) for i in (0, -1))
        return (last - first).total_seconds()
    except (IndexError, TypeError, ValueError):
        return math.nan
