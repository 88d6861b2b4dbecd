"""Policy: look at more fields until it is known well enough how frequent a defect is."""

from __future__ import annotations

import msgspec

from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.sites import Finding, Fraction, finding
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
    species: str,
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
        What is counted.
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
    if not 0 < relative < 1 or not 0 < confidence < 1:
        raise InputError("Precision and confidence must lie between 0 and 1.")
    fields = Fields(session, area, scan, rule=rule, shuffle_seed=shuffle_seed)
    kept, counts = Findings(session), Counts(area)
    known: Fraction | None = None
    for number, view in enumerate(fields, 1):
        counts.add(view)
        for target in session.targets(view, species={species}, min_posterior=sure, reregister=False):
            kept.add(finding(target, view, target.posterior))
        known = counts.fractions(kept.all, confidence)[species]
        width = (known.high - known.low) / 2
        evidence = {
            "species": species,
            "count": known.count,
            "of": known.of,
            "low": known.low,
            "high": known.high,
        }
        if number >= fewest_fields and known.count and width <= relative * known.value:
            session.decide(rule, evidence, "end: precise enough")
            return _result(known, True, kept, fields, "the interval is narrow enough")
        session.decide(rule, evidence, "go on")
    ended = fields.ended or "every field of the area was scanned"
    return _result(known, False, kept, fields, ended)


def _result(known: Fraction | None, reached: bool, kept: Findings, fields: Fields, ended: str) -> PreciseResult:
    return PreciseResult(known, reached, tuple(kept.all), fields.scanned, fields.refused, ended)
