"""Policy: look at every field of an area once, and say how much of what is there."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator

import msgspec

from realtime.autonomy.limits import LimitReached
from realtime.autonomy.microscope import Pair
from realtime.autonomy.policies.area import BORDER_NM, Area, FieldScan
from realtime.autonomy.policies.sites import Finding, Fraction, finding
from realtime.autonomy.policies.steps import end_at
from realtime.autonomy.policies.tally import Counts, Findings
from realtime.autonomy.session import Session
from realtime.autonomy.views import View


class SurveyResult(msgspec.Struct, frozen=True):
    """What a survey found.

    Attributes
    ----------
    findings
        Sites that surely hold one of the wanted species, each once.
    fractions
        Species to share of the sites of its sublattice; of the sites inside the area that were judged.
    fields, refused
        Fields that were scanned, and those of them that could not be judged.
    ended
        Why it ended early, or empty.
    """

    findings: tuple[Finding, ...]
    fractions: dict[str, Fraction]
    fields: int
    refused: int
    ended: str = ""


class Fields:
    """The fields of an area one after the other, until a limit is reached.

    Parameters
    ----------
    shuffle_seed
        Fields in random order with this seed; None goes row by row.
    """

    def __init__(
        self,
        session: Session,
        area: Area,
        scan: FieldScan,
        *,
        rule: str,
        shuffle_seed: int | None = None,
        border_nm: float = BORDER_NM,
    ) -> None:
        self.session, self.area, self.scan, self.rule = session, area, scan, rule
        self.ended = ""
        self.scanned = self.refused = 0
        self._centres = list(enumerate(area.centres(scan.field_of_view_nm, border_nm)))
        if shuffle_seed is not None:
            random.Random(shuffle_seed).shuffle(self._centres)

    def __len__(self) -> int:
        return len(self._centres)

    def __iter__(self) -> Iterator[View]:
        for number, centre in self._centres:
            try:
                view = self._look(number, centre)
            except LimitReached as limit:
                self.end(limit)
                return
            self.scanned += 1
            if view.result.refusal is None:
                yield view
            else:
                self.refused += 1
            if self.ended:
                return

    def end(self, limit: LimitReached) -> None:
        """Scan no more fields."""
        self.ended = end_at(self.session, limit, self.rule)

    def _look(self, number: int, centre: Pair) -> View:
        request = self.scan.request(self.session.microscope, centre)
        return self.session.look(request, rule=self.rule, key=f"{self.rule}/field {number}")


def survey_grid(
    session: Session,
    area: Area,
    *,
    scan: FieldScan,
    species: Collection[str] | None = None,
    sure: float = 0.9,
    shuffle_seed: int | None = None,
    rule: str = "survey",
) -> SurveyResult:
    """Scan an area field by field and map its defects.

    Parameters
    ----------
    scan
        Of each field.
    species
        What is looked for; None takes every defect.
    sure
        Probability of the species from which on a site is found.
    shuffle_seed
        Fields in random order, so that a survey that a limit ends is still a fair sample; None goes row by row.
    rule
        Name in the record, and the first part of each exposure's key.
    """
    fields = Fields(session, area, scan, rule=rule, shuffle_seed=shuffle_seed)
    kept, counts = Findings(session), Counts(area)
    for view in fields:
        counts.add(view)
        for target in session.targets(view, species=species, min_posterior=sure, reregister=False):
            # `species` and `min_posterior` speak of all wanted ones together; a finding is of one.
            if target.probability >= sure and (species is None or target.species in species):
                kept.add(finding(target, view, target.posterior))
    return SurveyResult(
        tuple(kept.all), counts.fractions(kept.all), fields.scanned, fields.refused, fields.ended
    )
