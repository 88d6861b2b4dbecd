"""A session: looks, finds targets and acts on them, within limits, on the record, and to be stopped at any time.

Positions are in scan coordinates as they were when the session began; where the session shifts beam or stage to reach
farther, it takes the shift off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from realtime.autonomy.drift import DriftModel
from realtime.autonomy.exposing import Exposures, Judge, Record
from realtime.autonomy.limits import Budget, LimitReached, Limits, Spent, Stop, Stopped
from realtime.autonomy.locating import Locator, TargetLost
from realtime.autonomy.microscope import Microscope, Pair, ScanRequest
from realtime.autonomy.targets import wanted_sites
from realtime.autonomy.views import Events, SessionEvent, SessionTarget, View, target_of
from stemctx_core.classes import Role
from stemctx_core.errors import InputError, StemctxError

__all__ = [
    "Events", "Judge", "Record", "Session", "SessionEvent", "SessionTarget", "TargetLost", "View",
]  # fmt: skip

T = TypeVar("T")

#: The beam follows the drift in such steps while it rests on a target.
_FOLLOW_S: Final = 0.1
#: A resting beam is counted on a square of this side: what a parked probe reaches, tails and wandering included.
_SPOT_NM: Final = 0.5


class Session:
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

    # Acting

    def centre(self, target: SessionTarget) -> None:
        """Shift beam or stage so that the target lies in the middle of the scan range.

        Raises
        ------
        TargetLost, LimitReached
            Nothing was moved.
        """
        self._require_entered()
        self._locator.find_again(target, 0.5)
        place = self.where(target)
        limit = self.limits.field_nm
        if limit is not None and max(abs(p) for p in place) > limit:
            raise LimitReached(
                "field_nm",
                f"The limit field_nm of {limit:g} would be passed: the target lies at ({place[0]:.1f}, {place[1]:.1f}) nm. "
                "Nothing was moved.",
            )
        self.decide("centre", target.evidence(), f"shift to ({place[0]:.3f}, {place[1]:.3f}) nm")
        self.exposures.shift_to(place)

    def zoom(
        self,
        target: SessionTarget,
        *,
        field_of_view_nm: float,
        shape: tuple[int, int],
        dwell_s: float,
        rule: str = "zoom",
        key: str = "",
        within_angstrom: float | None = 0.5,
        channels: tuple[str, ...] = (),
    ) -> View:
        """Scan a field around a target and find it again.

        Parameters
        ----------
        within_angstrom
            How well it must be known where the target lies before the field is scanned; where it is not, its
            surroundings are scanned first as in the view that it was seen in. None scans at once.

        Returns
        -------
        View
            With `View.site`, where the target was found again for sure; `View.registration` says why it was not.

        Raises
        ------
        TargetLost
            It is too old or lies nobody knows where, and could not be found again; its own field was not scanned.
        LimitReached, Stopped
            As `look`.
        """
        self._require_entered()
        key = key or self.exposures.next_key(rule)
        if not self.exposures.is_made(key):
            self._locator.find_again(target, within_angstrom, key)
        origin = self.exposures.view(target.view)
        request = ScanRequest(
            centre_nm=(target.y_nm, target.x_nm),
            field_of_view_nm=field_of_view_nm,
            shape=shape,
            dwell_s=dwell_s,
            rotation_rad=origin.request.rotation_rad if origin else 0.0,
            channels=channels,
        )
        # Where it will lie when the middle row is scanned.
        at = self.where(target, self.clock() + int(request.seconds / 2 * 1e9))
        view = self._locator.look(msgspec.structs.replace(request, centre_nm=at), rule, key, origin)
        view = self._locator.with_site(target, view)
        found = view.registration
        reason = (found.reason or "no site lies there") if found else "the field could not be judged"
        evidence = {
            **target.evidence(),
            "zoomed": view.key,
            "found_at_site": view.site,
            "shift_nm": list(found.shift_nm) if found else None,
            "registration_probability": found.probability if found else None,
        }
        self.decide(rule, evidence, f"not found again: {reason}" if view.site is None else "found again")
        return view

    def record_subscan(
        self,
        target: SessionTarget,
        *,
        field_of_view_nm: float,
        shape: tuple[int, int],
        dwell_s: float,
        rule: str = "subscan",
        key: str = "",
        channels: tuple[str, ...] = (),
    ) -> View:
        """Scan a field around a target on all channels (or those named); otherwise as `zoom`."""
        return self.zoom(
            target,
            field_of_view_nm=field_of_view_nm,
            shape=shape,
            dwell_s=dwell_s,
            rule=rule,
            key=key,
            channels=channels or self.microscope.channels,
        )

    def dwell(self, target: SessionTarget, seconds: float, *, rule: str = "dwell", key: str = "") -> None:
        """Rest the beam on a target, following the drift, then blank; one that was made already is not repeated.

        Raises
        ------
        TargetLost, LimitReached, Stopped
            As `zoom`.
        """

        def rest(_: SessionTarget) -> None:
            end = self.clock() + int(seconds * 1e9)
            while (left := (end - self.clock()) * 1e-9) > 0:
                self.exposures.park(self.where(target))
                self._stop.wait(min(left, _FOLLOW_S))

        self._rest_on(target, rest, seconds, rule, key)

    def acquire(
        self,
        target: SessionTarget,
        callback: Callable[[SessionTarget], T],
        *,
        seconds: float,
        rule: str = "acquire",
        key: str = "",
    ) -> T | None:
        """Rest the beam on a target while a callback acquires with another detector.

        None in a dry run, and where it was made already.

        Parameters
        ----------
        seconds
            Exposure that is counted.

        Raises
        ------
        TargetLost, LimitReached, Stopped
            As `zoom`.
        """
        return self._rest_on(target, callback, seconds, rule, key)

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
        if self.dry_run:
            return
        try:
            self.microscope.blank()
        finally:
            self.microscope.abort()

    def _rest_on(
        self, target: SessionTarget, act: Callable[[SessionTarget], T], seconds: float, rule: str, key: str
    ) -> T | None:
        self._require_entered()
        key = key or self.exposures.next_key(rule)
        if self.exposures.is_made(key):
            self.events.fire(SessionEvent("replayed", f"{rule}: '{key}' was made already"))
            return None
        self._locator.find_again(target, 0.5, key)
        request = ScanRequest(self.where(target), _SPOT_NM, (1, 1), seconds)
        self.decide(rule, target.evidence(), f"rest the beam on it for {seconds:g} s")
        return self.exposures.rest(request, rule, key, lambda: act(target))

    def _require_entered(self) -> None:
        self._stop.raise_if_set()
        if not self._entered:
            raise InputError("The session is not open. Use it in a 'with' block.")
