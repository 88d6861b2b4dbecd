"""Policy: keep one defect in the middle while the specimen drifts, and look at it again and again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from realtime.autonomy.limits import LimitReached
from realtime.autonomy.locating import TargetLost
from realtime.autonomy.microscope import Pair
from realtime.autonomy.policies.area import FieldScan
from realtime.autonomy.policies.steps import end_at, look_at, pause
from realtime.autonomy.session import Session
from realtime.autonomy.views import SessionTarget, View, target_of
from stemctx_core.errors import InputError

#: After so many looks in a row that do not find it again, it is lost.
_MOST_LOST = 2


class Sighting(msgspec.Struct, frozen=True):
    """One look at the target.

    Attributes
    ----------
    seconds
        Since it was first seen.
    y_nm, x_nm
        Scan coordinates, by the site found.
    species, probability
        What stood there then.
    view
        Key of the view.
    """

    seconds: float
    y_nm: float
    x_nm: float
    species: str
    probability: float
    view: str


class FollowResult(msgspec.Struct, frozen=True):
    """Where a target went and what became of it.

    Attributes
    ----------
    sightings
        In order; the first is the target as it was given.
    looks
        Exposures, with those that did not find it.
    drift_nm_per_s
        y, x; by the session's drift model at the end.
    ended
        Why it ended.
    """

    sightings: tuple[Sighting, ...]
    looks: int
    drift_nm_per_s: Pair
    ended: str


def follow(
    session: Session,
    target: SessionTarget,
    *,
    close: FieldScan,
    times: int,
    every_s: float = 0.0,
    each: Callable[[View, SessionTarget], None] = lambda _view, _target: None,
    rule: str = "follow",
) -> FollowResult:
    """Look at a target again and again; where it lies is predicted by the drift, and found again in every view.

    Parameters
    ----------
    close
        Of every look.
    times
        How many looks.
    every_s
        Pause between two looks, with the beam off the specimen.
    each
        Called with every view in which the target was found, and where it is now.
    rule
        Name in the record, and the first part of each exposure's key.
    """
    if times < 1:
        raise InputError(f"{times} looks follow nothing. Give 1 or more.")
    began, sightings, looks, lost = target, [_sighting(target, target)], 0, 0
    ended = f"{times} looks were taken"
    for number in range(times):
        if number:
            pause(session, every_s)
        try:
            view = look_at(session, target, close, rule=rule, key=f"{rule}/look {number}")
        except TargetLost as why:
            ended = str(why)
            session.decide(rule, {"message": ended}, "end")
            break
        except LimitReached as limit:
            ended = end_at(session, limit, rule)
            break
        looks += 1
        if view.site is None:
            lost += 1
            session.decide(rule, {"view": view.key, "lost": lost}, "not found again")
            if lost == _MOST_LOST:
                ended = f"it was not found again in {lost} looks"
                break
            continue
        lost = 0
        target = target_of(view, view.site)
        sightings.append(_sighting(target, began))
        session.decide(rule, target.evidence(), "found again")
        each(view, target)
    return FollowResult(tuple(sightings), looks, session.drift.velocity_nm_per_s, ended)


def _sighting(target: SessionTarget, began: SessionTarget) -> Sighting:
    seconds = (target.seen_ns - began.seen_ns) * 1e-9
    return Sighting(seconds, target.y_nm, target.x_nm, target.species, target.probability, target.view)
