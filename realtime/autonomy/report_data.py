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
from realtime.autonomy.microscope import Pair, ScanRequest
from realtime.autonomy.policies.sites import Fraction, fraction
from realtime.autonomy.record_events import DecisionTaken
from realtime.autonomy.record_reader import RecordedExposure, RecordReader
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Candidate, Role
from stemctx_core.context import ImagingContext
from stemctx_core.judging.decision import NO_LATTICE_HERE, UNKNOWN
from stemctx_core.results import EDGE, SUBLATTICES, Decision, FrameResult

#: Fields at least this wide, as a share of the widest, are the survey; narrower ones are looks at chosen places.
_SURVEY_SHARE: Final = 0.5
#: Two fields with their middles this near to each other are the same one, looked at again.
_SAME_FIELD_NM: Final = 0.05
_LIMIT: Final = "limit reached: "
#: Code of the refusal of an exposure that is no frame: the beam rested on a point.
_REST: Final = "no_image"
_NOT_JUDGED: Final = (EDGE, NO_LATTICE_HERE, UNKNOWN)


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
class DecidedSite:
    """What was decided of a site in the end.

    Attributes
    ----------
    exposure
        That it was last seen in, or None where that is not in the record.
    posterior
        Species to probability.
    decisions
        How many there were of it.
    """

    name: str
    action: str
    rule: str
    y_nm: float
    x_nm: float
    exposure: RecordedExposure | None
    posterior: dict[str, float]
    decisions: int

    @property
    def species(self) -> str:
        """Most probable one, or empty."""
        return max(self.posterior, key=lambda s: self.posterior[s], default="")


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
    rests = tuple(e for e in done if e.done and e.done.refusal.startswith(f"{_REST}:"))
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
        y, x = positions_nm(exposure.intended.request, result.sites.y_px, result.sites.x_px)
        own = nearest.query(np.stack([y, x], axis=1))[1] == index if nearest and len(y) else np.zeros(0, bool)
        judged = own & ~np.isin(
            result.sites.reason, [i for i, r in enumerate(result.reasons) if r in _NOT_JUDGED]
        )
        sites += np.bincount(result.sites.sublattice[judged], minlength=2)[:2]
        undecided += int(judged[result.where(Decision.ABSTAIN)].sum())
        flags += [_flag(exposure, result, int(i), y, x) for i in result.where(Decision.FLAG) if judged[i]]
    cell_nm2 = _cell_nm2(material)
    densities = _densities(material, flags, sites, cell_nm2)
    return ReportData(
        exposures=exposures, survey=survey, looks=looks, rests=rests, flags=tuple(flags), undecided=undecided,
        candidates=material.candidates if material else (), densities=densities, judged_nm2=float(sites.mean()) * cell_nm2 if material else 0.0, sites_per_cm2=1e14 / cell_nm2,
        other_fields=others,        context=material.context if material else None, models=tuple(models),
        sites=_decided(read), limits=_limits(read.decisions), dose=dose, seconds=_seconds(read),
    )  # fmt: skip


def positions_nm(request: ScanRequest, y_px: Any, x_px: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scan coordinates (y, x) of array-index coordinates; see `realtime.autonomy.microscope`."""
    dy = (np.asarray(y_px, float) - (request.shape[0] - 1) / 2) * request.pixel_nm
    dx = (np.asarray(x_px, float) - (request.shape[1] - 1) / 2) * request.pixel_nm
    c, s = math.cos(request.rotation_rad), math.sin(request.rotation_rad)
    return request.centre_nm[0] + dy * c + dx * s, request.centre_nm[1] + dx * c - dy * s


def pixel_of(request: ScanRequest, position_nm: Pair) -> Pair:
    """Array-index coordinates of a point in scan coordinates."""
    dy, dx = (p - c for p, c in zip(position_nm, request.centre_nm, strict=True))
    c, s = math.cos(request.rotation_rad), math.sin(request.rotation_rad)
    y, x = (dy * c - dx * s) / request.pixel_nm, (dx * c + dy * s) / request.pixel_nm
    return y + (request.shape[0] - 1) / 2, x + (request.shape[1] - 1) / 2


def corners_nm(request: ScanRequest) -> NDArray[np.float64]:
    """(4, 2) corners of a field, in order around it."""
    height, width = request.shape
    y, x = positions_nm(
        request,
        np.array([-0.5, -0.5, height - 0.5, height - 0.5]),
        np.array([-0.5, width - 0.5, width - 0.5, -0.5]),
    )
    return np.stack([y, x], axis=1)


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
    return math.sqrt(3) / 2 * (materials.host(material.context.host).a_angstrom / 10) ** 2


def _densities(
    material: FrameResult | None, flags: list[Flag], sites: NDArray[np.int_], cell_nm2: float
) -> dict[str, Fraction]:
    found = Counter(f.species for f in flags)
    return {
        c.species: fraction(found[c.species], int(sites[SUBLATTICES.index(c.sublattice)]), 1 / cell_nm2)
        for c in (material.candidates if material else ())
        if c.is_defect
    }


def _decided(read: RecordReader) -> tuple[DecidedSite, ...]:
    """The last decision on every site that decisions name by place and view."""
    by_key = {e.intended.key: e for e in read.exposures if e.done is not None}
    last: dict[str, DecidedSite] = {}
    for decision in read.decisions:
        found = _site(decision, by_key)
        if found is not None:
            before = last.get(found.name)
            last[found.name] = (
                found if before is None else DecidedSite(**{**vars(found), "decisions": before.decisions + 1})
            )
    return tuple(last.values())


def _site(decision: DecisionTaken, by_key: dict[str, RecordedExposure]) -> DecidedSite | None:
    told = decision.evidence
    y, x, posterior = told.get("y_nm"), told.get("x_nm"), told.get("posterior")
    if not isinstance(y, int | float) or not isinstance(x, int | float) or not isinstance(posterior, dict):
        return None
    sure = {str(s): float(p) for s, p in posterior.items() if isinstance(p, int | float)}
    name = str(told.get("site") or f"({y:.2f}, {x:.2f}) nm")
    return DecidedSite(
        name, decision.action, decision.rule, float(y), float(x), by_key.get(str(told.get("view"))), sure, 1
    )


def _limits(decisions: Iterable[DecisionTaken]) -> tuple[tuple[str, str], ...]:
    """Policies end with a limit in their evidence; where none does, the session's own refusal tells of it."""
    reached: dict[str, str] = {}
    for decision in decisions:
        if "limit" in decision.evidence:
            reached[str(decision.evidence["limit"])] = str(decision.evidence.get("message", ""))
        elif decision.action.startswith(_LIMIT):
            name = decision.action.removeprefix(_LIMIT)
            reached.setdefault(name, f"The limit {name} would have been passed. Nothing was exposed.")
    return tuple(reached.items())


def _seconds(read: RecordReader) -> float:
    """From the first event to the last; a pause between two sessions is part of it."""
    try:
        first, last = (datetime.fromisoformat(read.events[i].utc) for i in (0, -1))
        return (last - first).total_seconds()
    except (IndexError, TypeError, ValueError):
        return math.nan
