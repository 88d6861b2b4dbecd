"""Steps that policies share: a look at a target, a pause, and the end at a limit."""

from __future__ import annotations

import time
from typing import Final

from realtime.autonomy.limits import LimitReached, Stopped
from realtime.autonomy.policies.area import FieldScan
from realtime.autonomy.session import Session
from realtime.autonomy.views import SessionTarget, View

_POLL_S: Final = 0.02


def look_at(session: Session, target: SessionTarget, scan: FieldScan, *, rule: str, key: str) -> View:
    """Scan a field around a target at once, and find the target again in it.

    Raises
    ------
    TargetLost, LimitReached, Stopped
        As `Session.zoom`.
    """
    asked = scan.request(session.microscope, (target.y_nm, target.x_nm))
    return session.zoom(
        target,
        field_of_view_nm=asked.field_of_view_nm,
        shape=asked.shape,
        dwell_s=asked.dwell_s,
        rule=rule,
        key=key,
        within_angstrom=None,
    )


def pause(session: Session, seconds: float) -> None:
    """Wait with the beam off; end at once where the session is stopped, and do not wait in a dry run.

    Raises
    ------
    Stopped
        Somebody stopped the session.
    """
    end = time.monotonic() + (0.0 if session.dry_run else seconds)
    while (left := end - time.monotonic()) > 0 and not session.is_stopped:
        time.sleep(min(left, _POLL_S))
    if session.is_stopped:
        raise Stopped("The session was stopped while it waited.")


def end_at(session: Session, limit: LimitReached, rule: str) -> str:
    """Write down that a limit ends the policy; gives why, in words."""
    why = str(limit)
    session.decide(rule, {"limit": limit.name, "message": why}, "end")
    return why
