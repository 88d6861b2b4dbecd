"""What became of single sites, and which limits were reached, as the decisions of a record tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from realtime.autonomy.exposing import LIMIT_REACHED
from realtime.autonomy.record.events import DecisionTaken
from realtime.autonomy.record.reader import RecordedExposure, RecordReader


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


def decided_sites(read: RecordReader) -> tuple[DecidedSite, ...]:
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


def limits_reached(decisions: Iterable[DecisionTaken]) -> tuple[tuple[str, str], ...]:
    """Policies end with a limit in their evidence; where none does, the session's own refusal tells of it."""
    reached: dict[str, str] = {}
    for decision in decisions:
        if "limit" in decision.evidence:
            reached[str(decision.evidence["limit"])] = str(decision.evidence.get("message", ""))
        elif decision.action.startswith(LIMIT_REACHED):
            name = decision.action.removeprefix(LIMIT_REACHED)
            reached.setdefault(name, f"The limit {name} would have been passed. Nothing was exposed.")
    return tuple(reached.items())
