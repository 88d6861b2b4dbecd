"""What a session does at a target: each finds it again first, where its place is not known well enough."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from realtime.autonomy.exposing import Exposures
from realtime.autonomy.limits import LimitReached, Limits, Stop
from realtime.autonomy.locating import Locator
from realtime.autonomy.microscope import Microscope, Pair, ScanRequest
from realtime.autonomy.views import Events, SessionEvent, SessionTarget, View

T = TypeVar("T")

#: The beam follows the drift in such steps while it rests on a target.
_FOLLOW_S: Final = 0.1
#: A resting beam is counted on a square of this side: what a parked probe reaches, tails and wandering included.
_SPOT_NM: Final = 0.5


class Acting(ABC):
    """The actions of a `realtime.autonomy.session.Session`, which is the only one to be made."""

    microscope: Microscope
    limits: Limits
    clock: Callable[[], int]
    events: Events
    exposures: Exposures
    _locator: Locator
    _stop: Stop

    @abstractmethod
    def where(self, target: SessionTarget, at_ns: int | None = None) -> Pair:
        """Where a target lies now, or at another time, by the drift (scan coordinates)."""

    @abstractmethod
    def decide(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision to the record."""

    @abstractmethod
    def _require_entered(self) -> None:
        """Raise where the session is not open, or was stopped."""

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
