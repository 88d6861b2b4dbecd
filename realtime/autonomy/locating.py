"""Where the targets of a session lie now, and whether that is known well enough to act on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from realtime.autonomy.microscope import Pair, ScanRequest
from realtime.autonomy.registration import Registration, register
from realtime.autonomy.views import SessionTarget, View
from stemctx_core.errors import StemctxError

if TYPE_CHECKING:
    from realtime.autonomy.session import Session

#: A site found again lies within this of where it is expected.
FOUND_NM: Final = 0.05
#: Field around a target that is scanned to find it again, and what is added for each nm that it may lie off.
_AROUND_NM: Final = 4.0
_MARGIN: Final = 6.0
#: A field that overlaps an earlier one by this part tells how the specimen moved.
_COMMON: Final = 0.6


class TargetLost(StemctxError):
    """It is not known well enough where the target lies now; nothing was exposed at it."""


class Locator:
    """Finds targets again.

    Parameters
    ----------
    session
        Whose drift, limits and exposures are used.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._registered_ns: dict[str, int] = {}

    def where(self, target: SessionTarget, at_ns: int | None = None) -> Pair:
        """Scan coordinates of a target, by the drift."""
        now = self._session.clock() if at_ns is None else at_ns
        return self._session.drift.predict((target.y_nm, target.x_nm), target.seen_ns, now)

    def uncertainty_angstrom(self, target: SessionTarget) -> float:
        """Distance (Å) that its place is wrong by less than, 19 times out of 20 along each axis."""
        return 20 * self._session.drift.error_nm(target.seen_ns, self._session.clock())

    def why_not(self, target: SessionTarget) -> str:
        """Why a target may not be acted on as it is; empty where it may."""
        limits, age_s = self._session.limits, self._age_s(target)
        if age_s < 0:
            return "it was seen in the future, or before the machine was started again"
        if limits.max_age_s is not None and age_s > limits.max_age_s:
            return f"it was seen {age_s:.1f} s ago, and the limit max_age_s is {limits.max_age_s:g}"
        uncertain, allowed = self.uncertainty_angstrom(target), limits.max_drift_angstrom
        if allowed is not None and uncertain > allowed:
            return f"its place is known to {uncertain:.2f} Å, and the limit max_drift_angstrom is {allowed:g}"
        y, x = self.where(target)
        if limits.field_nm is not None and max(abs(y), abs(x)) > limits.field_nm:
            return f"it lies at ({y:.1f}, {x:.1f}) nm, and the limit field_nm is {limits.field_nm:g}"
        return ""

    def grows_old(self, target: SessionTarget) -> bool:
        """Whether it should be found again before a limit makes it no target."""
        limits = self._session.limits
        if limits.max_age_s is not None and self._age_s(target) > limits.max_age_s / 2:
            return True
        allowed = limits.max_drift_angstrom
        return allowed is not None and self.uncertainty_angstrom(target) > allowed

    def look(self, request: ScanRequest, rule: str, key: str, origin: View | None = None) -> View:
        """Look, and take what the view tells of the drift: against an origin, or an earlier view of the same field."""
        exposures = self._session.exposures
        earlier = origin or exposures.earlier(request, _COMMON)
        view = exposures.look(request, rule, key)
        if view.registration is None and earlier is not None and earlier.key != view.key:
            view = self._registered(earlier, view)
            exposures.remember(view)
        return view

    def find_again(self, target: SessionTarget, within_angstrom: float | None, key: str = "") -> None:
        """Scan a target's surroundings again where it is too old or its place is not known well enough.

        Raises
        ------
        TargetLost
            It was not found again for sure.
        """
        origin = self._session.exposures.view(target.view)
        reason = self.why_not(target)
        if not reason and origin is not None and self._is_foreign(origin):
            reason = "it was seen before the machine was started again"
        if not reason and (within_angstrom is None or self.uncertainty_angstrom(target) <= within_angstrom):
            return
        if origin is None:
            raise TargetLost(
                f"The target's view '{target.view}' is not known any more. Look at its field again."
            )
        if self._session.dry_run:
            return
        found = self.register_again(origin, target, key)
        reason = found.reason or self.why_not(target)
        if reason:
            raise TargetLost(
                f"The target seen in '{target.view}' was not found again: {reason}. Look at its field again."
            )

    def register_again(self, view: View, target: SessionTarget | None, key: str = "") -> Registration:
        """Scan a view's field again, or as much of it as is needed around a target."""
        session, request = self._session, view.request
        if target is None:
            dy, dx = session.drift.moved(view.middle_ns, session.clock())
            centre, shape = (request.centre_nm[0] + dy, request.centre_nm[1] + dx), request.shape
        else:
            centre = self.where(target)
            side = _AROUND_NM + _MARGIN * session.drift.error_nm(target.seen_ns, session.clock())
            pixels = max(1, round(min(request.field_of_view_nm, side) / request.pixel_nm))
            shape = pixels, pixels
        again = msgspec.structs.replace(
            request, centre_nm=centre, shape=shape, field_of_view_nm=max(shape) * request.pixel_nm
        )
        seen = self.look(again, "register", session.exposures.next_key(f"{key or view.key}/register"), view)
        refusal = seen.result.refusal or view.result.refusal
        why = refusal.reason if refusal else "its times are those of another clock"
        found = seen.registration or Registration((0.0, 0.0), 0.0, 0, math.inf, why)
        evidence = {
            "view": view.key,
            "again": seen.key,
            "shift_nm": list(found.shift_nm),
            "sites": found.sites,
            "probability": found.probability,
            "velocity_nm_per_s": list(session.drift.velocity_nm_per_s),
        }
        session.decide("register", evidence, "found again" if found.sure else f"not sure: {found.reason}")
        return found

    def with_site(self, target: SessionTarget, view: View) -> View:
        """The view with the row of the target in it, where it was registered for sure."""
        origin, found = self._session.exposures.view(target.view), view.registration
        if origin is None or found is None or not found.sure:
            return view
        velocity = self._session.drift.velocity_nm_per_s
        place = origin.sites(velocity).positions_nm[target.site] + np.array(found.shift_nm)
        sites = view.sites(velocity)
        distance = np.linalg.norm(sites.positions_nm - place, axis=1)
        distance[sites.sublattice != origin.result.sites.sublattice[target.site]] = math.inf
        nearest = int(distance.argmin())
        if distance[nearest] > FOUND_NM:
            return view
        view = msgspec.structs.replace(view, site=nearest)
        self._session.exposures.remember(view)
        return view

    def _registered(self, before: View, after: View) -> View:
        """The later view with its registration, from which the drift learns where it is sure."""
        refused = before.result.refusal is not None or after.result.refusal is not None
        if refused or self._is_foreign(before) or self._is_foreign(after):
            return after
        session, times = self._session, (before.middle_ns, after.middle_ns)
        velocity = session.drift.velocity_nm_per_s
        found = register(
            before.sites(velocity),
            after.sites(velocity),
            session.drift.moved(*times),
            session.drift.error_nm(*times),
        )
        if found.sure:
            session.drift.add(found.shift_nm, *times, found.error_nm)
            session.budget.relay()
            known_ns = self._registered_ns.get(before.key, before.middle_ns)
            self._registered_ns[before.key] = max(after.middle_ns, known_ns)
        return msgspec.structs.replace(after, registration=found)

    def _age_s(self, target: SessionTarget) -> float:
        seen_ns = max(target.seen_ns, self._registered_ns.get(target.view, 0))
        return (self._session.clock() - seen_ns) * 1e-9

    def _is_foreign(self, view: View) -> bool:
        """Whether a view's times are those of another clock: it was recorded before the machine was started again."""
        return view.replayed and view.frame.ended_ns > self._session.began_ns
