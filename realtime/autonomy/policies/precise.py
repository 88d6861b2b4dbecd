"""Policy: look at more fields until it is known well enough how frequent a defect is."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.sites import Finding, Fraction, finding, probability_of
from realtime.autonomy.policies.survey import Fields
from realtime.autonomy.policies.tally import Counts, Findings
from realtime.autonomy.session import Session
from stemctx_core.errors import InputError


class PreciseResult(msgspec.Struct, frozen=True):
    """How frequent a defect is.

    Attributes
    ----------
    fraction
        Share of the sites of its sublattice, with its interval; None where nothing could be judged.
    undecided
        Sites that may hold it and are not counted: an interval says nothing of them. With more than a few, more dose
        is needed, or species that cannot be told apart must be counted together.
    reached
        Whether the interval became as narrow as was asked for.
    findings
        The sites.
    fields, refused
        Fields that were scanned, and those of them that could not be judged.
    ended
        Why it ended.
    """

    fraction: Fraction | None
    undecided: int
    reached: bool
    findings: tuple[Finding, ...]
    fields: int
    refused: int
    ended: str


def until_precise(
    session: Session,
    area: Area,
    *,
    scan: FieldScan,
    species: Collection[str],
    relative: float = 0.2,
    confidence: float = 0.95,
    sure: float = 0.9,
    fewest_fields: int = 3,
    shuffle_seed: int = 0,
    rule: str = "precise",
) -> PreciseResult:
    """Scan fields of an area in random order until a confidence interval is narrow enough.

    The interval is looked at after every field, which makes it a little too narrow on the mean; `fewest_fields` keeps
    a lucky start from ending it.

    Parameters
    ----------
    species
        What is counted together; of one sublattice.
    relative
        Half the width of the Wilson score interval over the fraction itself at which it ends.
    confidence
        Of the interval.
    sure
        Probability of the species from which on a site is counted.
    fewest_fields
        Judged before it may end.
    shuffle_seed
        Of the order of the fields.
    """
    if not species:
        raise InputError("Nothing is counted. Name a species, such as vac_Se.")
    if not 0 < relative < 1 or not 0 < confidence < 1:
        raise InputError("Precision and confidence must lie between 0 and 1.")
    fields = Fields(session, area, scan, rule=rule, shuffle_seed=shuffle_seed)
    kept, doubtful, counts = Findings(session), Findings(session), Counts(area)
    known: Fraction | None = None
    reached = False
    for number, view in enumerate(fields, 1):
        counts.add(view)
        for target in session.targets(view, species=species, min_posterior=1 - sure, reregister=False):
            share = probability_of(target.posterior, species)
            (kept if share >= sure else doubtful).add(finding(target, view, target.posterior))
        known = counts.fraction(kept.all, species, confidence)
        width = (known.high - known.low) / 2
        reached = number >= fewest_fields and known.count > 0 and width <= relative * known.value
        evidence = {"species": sorted(species), **msgspec.to_builtins(known)}
        session.decide(rule, evidence, "end: precise enough" if reached else "go on")
        if reached:
            break
    ended = (
        "the interval is narrow enough" if reached else fields.ended or "every field of the area was scanned"
    )
    # A site that one view left in doubt may have been decided by another.
    open_ones = [d for d in doubtful.all if kept.index((d.y_nm, d.x_nm), d.seen_ns) is None]
    undecided = sum(area.holds((d.y_nm, d.x_nm)) for d in open_ones)
    return PreciseResult(known, undecided, reached, tuple(kept.all), fields.scanned, fields.refused, ended)
