"""Policy: look at one field until something in it changes, then take the beam off."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np
from scipy.spatial import cKDTree

from realtime.autonomy.limits import LimitReached
from realtime.autonomy.microscope import Pair
from realtime.autonomy.policies.area import FieldScan
from realtime.autonomy.policies.steps import end_at, pause
from realtime.autonomy.registration import register
from realtime.autonomy.session import Session
from realtime.autonomy.views import View
from stemctx_core.errors import InputError

_MATCH_NM = 0.1


class Change(msgspec.Struct, frozen=True):
    """A site at which surely something else stands than in the first view.

    Attributes
    ----------
    y_nm, x_nm
        Scan coordinates in the first view.
    before, after
        Species; the most probable one now, which need not be sure itself.
    probability
        That what stood there is gone, for one of the species that count.
    view
        Key of the first view that shows it.
    """

    y_nm: float
    x_nm: float
    before: str
    after: str
    probability: float
    view: str


class WatchResult(msgspec.Struct, frozen=True):
    """What changed in a field.

    Attributes
    ----------
    changes
        In the order in which they were seen, confirmed by the view after.
    frames, not_compared
        Views, and those of them that could not be laid over the first.
    dose_e_per_angstrom2
        That the field has got by all views.
    blanked
        Whether changes ended it.
    ended
        Why it ended.
    """

    changes: tuple[Change, ...]
    frames: int
    not_compared: int
    dose_e_per_angstrom2: float
    blanked: bool
    ended: str


def watch(
    session: Session,
    *,
    scan: FieldScan,
    centre_nm: Pair = (0.0, 0.0),
    frames: int = 20,
    changes: int = 1,
    after: Collection[str] | None = None,
    sure: float = 0.99,
    every_s: float = 0.0,
    rule: str = "watch",
) -> WatchResult:
    """Scan a field repeatedly, compare every view with the first, and blank once enough has changed.

    A change counts where the first view is sure of what stands there and a later one that it is gone, and the view
    after that says so too: among thousands of sites and many frames, a single sure mistake would else end it.

    Parameters
    ----------
    frames
        Most views.
    changes
        So many confirmed changes end it.
    after
        Species that a change must lead to, such as ``{"vac_Se", "O_Se"}``; None takes any.
    sure
        Probability from which on a view is sure.
    every_s
        Pause between two views, with the beam off the specimen.
    """
    if frames < 2 or changes < 1:
        raise InputError("Two frames or more are needed to see a change, and one change or more to end for it.")
    first: View | None = None
    seen: dict[int, Change] = {}
    confirmed: dict[int, Change] = {}
    taken = skipped = 0
    dose, ended, blanked = 0.0, f"{frames} frames were taken", False
    for number in range(frames):
        if number:
            pause(session, every_s)
        where = (
            centre_nm if first is None else session.drift.predict(centre_nm, first.middle_ns, session.clock())
        )
        request = scan.request(session.microscope, where)
        try:
            view = session.look(request, rule=rule, key=f"{rule}/frame {number}")
        except LimitReached as limit:
            ended = end_at(session, limit, rule)
            break
        taken += 1
        dose += scan.dose_e_per_angstrom2
        if first is None:
            if view.result.refusal is None:
                first = view
            else:
                skipped += 1
            continue
        now = _changes(session, first, view, sure, after)
        if now is None:
            skipped += 1
            continue
        confirmed |= {site: seen[site] for site in now if site in seen and site not in confirmed}
        seen = {site: seen.get(site, change) for site, change in now.items()}
        evidence = {
            "view": view.key,
            "dose_e_per_angstrom2": dose,
            "changes": [msgspec.to_builtins(c) for c in confirmed.values()],
        }
        if len(confirmed) >= changes:
            session.microscope.blank()
            session.decide(rule, evidence, "blank")
            blanked, ended = True, f"{len(confirmed)} sites changed"
            break
        session.decide(rule, evidence, "go on")
    return WatchResult(tuple(confirmed.values()), taken, skipped, dose, blanked, ended)


def _changes(
    session: Session, first: View, view: View, sure: float, after: Collection[str] | None
) -> dict[int, Change] | None:
    """Row of the first view to what changed there; None where the views cannot be laid over each other."""
    if view.result.refusal is not None:
        return None
    velocity = session.drift.velocity_nm_per_s
    before_sites, now_sites = first.sites(velocity), view.sites(velocity)
    times = first.middle_ns, view.middle_ns
    found = register(before_sites, now_sites, session.drift.moved(*times), session.drift.error_nm(*times))
    if not found.sure:
        return None
    distance, nearest = cKDTree(before_sites.positions_nm + np.array(found.shift_nm)).query(
        now_sites.positions_nm
    )
    was, stands = first.result, view.result
    stood = was.sites.best[nearest]
    left = np.take_along_axis(stands.sites.posterior, stood[:, None].astype(np.intp), axis=1)[:, 0]
    wanted = np.array([after is None or c.species in after for c in stands.candidates])
    comes = np.where(wanted & (np.arange(len(wanted)) != stood[:, None]), stands.sites.posterior, 0.0).sum(
        axis=1
    )
    rows = np.flatnonzero(
        (distance < _MATCH_NM)
        & (was.sites.sublattice[nearest] == stands.sites.sublattice)
        & (was.sites.probability[nearest] >= sure)
        & (left <= 1 - sure)
        & (comes >= sure)
    )
    changed = {}
    for row in map(int, rows):
        site = int(nearest[row])
        y, x = first.to_nm(was.sites.y_px[site], was.sites.x_px[site])
        changed[site] = Change(
            float(y), float(x), was.species(site), stands.species(row), float(comes[row]), view.key
        )
    return changed
