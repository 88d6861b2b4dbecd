"""A session: looks, finds targets and acts on them, within limits, on the record, and to be stopped at any time.

Positions are in scan coordinates as they were when the session began; where the session shifts beam or stage to reach
farther, it takes the shift off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from realtime.autonomy.acting import Acting
from realtime.autonomy.drift import DriftModel
from realtime.autonomy.exposing import Exposures
from realtime.autonomy.limits import Budget, Limits, Spent, Stop, Stopped
from realtime.autonomy.locating import Locator
from realtime.autonomy.microscope import Microscope, Pair, ScanRequest
from realtime.autonomy.protocols import Judge, Record
from realtime.autonomy.targets import wanted_sites
from realtime.autonomy.views import Events, SessionEvent, SessionTarget, View, target_of
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError, StemctxError


class Session(Acting):
    """What scripts and policies act through. A context manager: used on one thread, stopped from any.

    Parameters
    ----------
    microscope
        To act with.
    judge
        What says what stands where.
    limits
        What it may cost.
    record
        Where everything is written; exposures that it holds already are not repeated.
    dry_run
        Do everything but act: limits are held and decisions recorded, nothing is scanned, moved or blanked.
    clock
        Nanoseconds, monotonic: the clock that the microscope's frames are stamped by.
    """

    def __init__(
        self,
        microscope: Microscope,
        judge: Judge,
        *,
        limits: Limits | None = None,
        record: Record | None = None,
        dry_run: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.microscope = microscope
        self.limits = limits or Limits()
        self.record = record
        self.dry_run = dry_run
        self.clock = clock
        self.drift = DriftModel()
        self.events = Events()
        self.began_ns = clock()
        self.budget = Budget(self.limits, clock, lambda ns: self.drift.moved(self.began_ns, ns))
        self._stop = Stop(self._beam_off)
        self.exposures = Exposures(self, judge, self._stop)
        self._locator = Locator(self)
        self._open = contextlib.ExitStack()
        self._entered = False

    def __enter__(self) -> Self:
        self.began_ns = self.clock()
        self.budget = Budget(self.limits, self.clock, lambda ns: self.drift.moved(self.began_ns, ns))
        for request, dose in self.record.spent() if self.record else ():
            self.budget.spend(request, dose)
        if not self.dry_run:
            self._open.enter_context(self.microscope.kept())
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        self._open.close()
        if error is not None and self.record is not None:
            # The record itself may be what failed.
            with contextlib.suppress(StemctxError):
                self.record.note(f"The session ended with {type(error).__name__}: {error}")
        if isinstance(error, Stopped):
            self.events.fire(SessionEvent("stopped", str(error)))

    # Looking

    def look(self, request: ScanRequest, *, rule: str = "look", key: str = "") -> View:
        """Scan, judge and record a field.

        Parameters
        ----------
        rule
            Why, for the record.
        key
            Stable name of the exposure; by default the rule and a counter. One that was made already, in this session
            or in the record that it resumes, is replayed.

        Raises
        ------
        LimitReached
            Nothing was exposed.
        Stopped
            The beam is off.
        """
        self._require_entered()
        return self._locator.look(request, rule, key)

    @property
    def spent(self) -> Spent:
        """What it has cost so far."""
        return self.budget.spent

    def targets(
        self,
        view: View | None = None,
        *,
        species: Collection[str] | None = None,
        min_probability: float = 0.9,
        roles: Collection[Role] | None = None,
        min_posterior: float | None = None,
        reregister: bool | None = None,
    ) -> Iterator[SessionTarget]:
        """Sites that may be acted on now, the surest first: in the field, not refused, not stale.

        Each is checked when its turn comes, since what was done with the one before took its time. Those of a view
        that was replayed from the record are handed out as they were seen then; the actions find them again.

        Parameters
        ----------
        view
            Where to look; by default every view of the session, the newest first, but none is scanned again then.
        species, roles
            What is wanted; None takes any defect.
        min_probability
            Of the most probable species of a flagged site.
        min_posterior
            Instead of flags: sites where what is wanted has at least this posterior together, flagged or not.
        reregister
            Scan the field again first, to see how far it drifted. None does so where half of `Limits.max_age_s` has
            passed or the place is less certain than `Limits.max_drift_angstrom`; False never does.

        Raises
        ------
        LimitReached
            Where the field was to be scanned again.
        """
        views = self.exposures.newest_first() if view is None else [view]
        for seen in views:
            found = wanted_sites(
                seen.result,
                species=species,
                min_probability=min_probability,
                roles=roles,
                min_posterior=min_posterior,
            )
            if found and reregister and not self._locator.register_again(seen, None).sure:
                continue
            may_register = reregister is None and view is not None and not seen.replayed
            for site in found:
                self._stop.raise_if_set()
                target = target_of(seen, site)
                if may_register and self._locator.grows_old(target):
                    if not self._locator.register_again(seen, None).sure:
                        break
                    # Where that did not help, more exposures would not either.
                    may_register = not self._locator.grows_old(target)
                reason = "" if seen.replayed else self.why_not(target)
                if reason:
                    self.decide("targets", target.evidence(), f"not actionable: {reason}")
                else:
                    yield target

    def why_not(self, target: SessionTarget) -> str:
        """Why a target may not be acted on as it is; empty where it may."""
        return self._locator.why_not(target)

    def where(self, target: SessionTarget, at_ns: int | None = None) -> Pair:
        """Where a target lies now, or at another time, by the drift (scan coordinates)."""
        return self._locator.where(target, at_ns)

    def decide(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision to the record."""
        if self.record is not None:
            self.record.decision(rule, evidence, action)
        self.events.fire(SessionEvent("decision", f"{rule}: {action}"))

    def stop(self) -> None:
        """Stop from any thread: the beam is off when this returns."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody stopped it."""
        return self._stop.is_set()

    # Within

    def _beam_off(self) -> None:
        if self.dry_run or not self._entered:
            return
        # In this order: after the abort nobody lets the beam through again.
        try:
            self.microscope.abort()
        finally:
            self.microscope.blank()

    def _require_entered(self) -> None:
        self._stop.raise_if_set()
        if not self._entered:
            raise InputError("The session is not open. Use it in a 'with' block.")
