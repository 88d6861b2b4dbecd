"""Policy: survey at a low dose, and look again, closer and with more dose, only where that leaves a doubt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from realtime.autonomy.limits import LimitReached
from realtime.autonomy.locating import TargetLost
from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.planning import DosePlanner
from realtime.autonomy.policies.sites import Finding, Fraction, judged
from realtime.autonomy.policies.steps import look_at
from realtime.autonomy.policies.survey import Fields
from realtime.autonomy.policies.suspects import Suspect, add_to_all
from realtime.autonomy.policies.tally import Counts, Findings
from realtime.autonomy.session import Session
from realtime.autonomy.views import View
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError


class Revisit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a doubtful site is looked at again.

    Attributes
    ----------
    field_of_view_nm, pixels
        Side of the square field; it must hold some dozens of sites with their whole patches.
    looks
        Most exposures of one site.
    most_e_per_angstrom2
        Most dose of one exposure.
    """

    field_of_view_nm: float = 3.0
    pixels: int = 128
    looks: int = 4
    most_e_per_angstrom2: float = 1e5


class ConfirmResult(msgspec.Struct, frozen=True):
    """What was found and confirmed.

    Attributes
    ----------
    findings
        Sites that surely hold one of the wanted species, each once.
    undecided
        Sites that could not be decided, with the reason; the most probable species stands in them.
    fractions
        As in `SurveyResult`.
    fields, refused, revisits
        Exposures of each kind; fields that could not be judged.
    ended
        Why it ended early, or empty.
    """

    findings: tuple[Finding, ...]
    undecided: tuple[tuple[Finding, str], ...]
    fractions: dict[str, Fraction]
    fields: int
    refused: int
    revisits: int
    ended: str = ""


def confirm(
    session: Session,
    area: Area,
    *,
    species: Collection[str],
    scan: FieldScan,
    revisit: Revisit | None = None,
    planner: DosePlanner | None = None,
    sure: float = 0.99,
    excluded: float = 0.01,
    prevalence: dict[Role, float] | None = None,
    rule: str = "confirm",
) -> ConfirmResult:
    """Find the sites that hold a species, with dose only where it is needed.

    Every field is surveyed; each of its sites where the wanted species are neither surely there nor surely not is
    then looked at again, before the specimen drifts on, with the dose that the planner says decides it.

    Parameters
    ----------
    species
        What is looked for.
    scan
        Of the survey.
    revisit
        Of a doubtful site.
    planner
        Says how much dose a site needs.
    sure, excluded
        Probability of the wanted species from which on a site is decided, one way or the other.
    prevalence
        Prior that the judge uses, where it is not the default.
    rule
        Name in the record, and the first part of each exposure's key.
    """
    if not species:
        raise InputError("Nothing is looked for. Name a species, such as V_W.")
    job = _Confirmation(
        session,
        frozenset(species),
        revisit or Revisit(),
        planner or DosePlanner(),
        sure,
        excluded,
        prevalence,
        rule,
    )
    fields, counts = Fields(session, area, scan, rule=rule), Counts(area)
    for view in fields:
        counts.add(view)
        try:
            job.take(view)
        except LimitReached as limit:
            fields.end(limit)
    return ConfirmResult(
        tuple(job.found.all),
        tuple((s.finding(), reason) for s, reason in job.undecided),
        counts.fractions(job.found.all),
        fields.scanned,
        fields.refused,
        job.revisits,
        fields.ended,
    )


@dataclass
class _Confirmation:
    session: Session
    species: frozenset[str]
    revisit: Revisit
    planner: DosePlanner
    sure: float
    excluded: float
    prevalence: dict[Role, float] | None
    rule: str

    def __post_init__(self) -> None:
        self.found = Findings(self.session)
        self.undecided: list[tuple[Suspect, str]] = []
        self.revisits = 0

    def take(self, view: View) -> None:
        """Decide every site of a field that is in doubt."""
        suspects = []
        targets = self.session.targets(
            view, species=self.species, min_posterior=self.excluded, reregister=False
        )
        for target in list(targets):
            suspect = Suspect(f"{view.key}/site {target.site}", target, view, dict(target.posterior))
            if not self.settled(suspect) and not self.found.knows(target):
                suspects.append(suspect)
        while suspects:
            suspect = suspects.pop(0)
            if self.settled(suspect):  # seen beside another one
                continue
            try:
                self.decide(suspect, suspects)
            except LimitReached:
                self.undecided += [(s, "a limit was reached") for s in (suspect, *suspects)]
                raise

    def settled(self, suspect: Suspect) -> bool:
        """Whether a site is decided; a wanted one is kept."""
        share = suspect.share(self.species)
        if share >= self.sure:
            found = suspect.finding()
            if found.species in self.species:
                self.found.add(found)
            return True
        return share <= self.excluded

    def decide(self, suspect: Suspect, others: Sequence[Suspect]) -> None:
        """Look again until the site is decided, or it is known why it will not be."""
        lost = 0
        for look in range(self.revisit.looks):
            needed = self.planner.dose_to_decide(
                suspect.view.result, suspect.posterior, self.species, sure=self.sure, excluded=self.excluded
            )
            if not needed.possible:
                self.give_up(suspect, needed.reason)
                return
            dose = min(needed.dose_e_per_angstrom2, self.revisit.most_e_per_angstrom2)
            try:
                view = self.look(suspect, dose, look)
            except TargetLost as why:
                self.give_up(suspect, str(why))
                return
            if view.site is None or not judged(view.result, view.site):
                lost += 1
                if lost == 2:
                    self.give_up(suspect, "it was not found again")
                    return
                continue
            add_to_all(suspect, others, view, view.site, self.prevalence)
            if self.settled(suspect):
                share = suspect.share(self.species)
                self.session.decide(
                    self.rule, suspect.evidence(), "found" if share >= self.sure else "excluded"
                )
                return
        self.give_up(suspect, f"{self.revisit.looks} looks did not decide it")

    def look(self, suspect: Suspect, dose_e_per_angstrom2: float, number: int) -> View:
        """Expose the surroundings of a suspect once more."""
        revisit, target, session = self.revisit, suspect.target, self.session
        scan = FieldScan(
            dose_e_per_angstrom2=dose_e_per_angstrom2,
            field_of_view_nm=revisit.field_of_view_nm,
            pixels=revisit.pixels,
        )
        evidence = {**suspect.evidence(), "planned_e_per_angstrom2": dose_e_per_angstrom2}
        session.decide(self.rule, evidence, "revisit")
        view = look_at(session, target, scan, rule=self.rule, key=f"{suspect.name}/look {number}")
        self.revisits += 1
        return view

    def give_up(self, suspect: Suspect, reason: str) -> None:
        """Leave a site undecided."""
        self.undecided.append((suspect, reason))
        self.session.decide(self.rule, {**suspect.evidence(), "reason": reason}, "undecided")
