"""Exposures of a session: every one within the limits, written down before the beam is on, and never made twice."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import numpy as np

from realtime.autonomy.drift import SHIFT_ERROR
from realtime.autonomy.limits import LimitReached, Stop
from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from realtime.autonomy.protocols import Judge
from realtime.autonomy.views import SessionEvent, View
from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.results import FrameIdentity, FrameResult, Refusal, SiteTable

if TYPE_CHECKING:
    from realtime.autonomy.session import Session

T = TypeVar("T")

#: How the decision begins that a limit forbade an exposure; the name of the limit follows.
LIMIT_REACHED: Final = "limit reached: "
#: Views that are kept to find their targets again; an image of 512² takes 1 MB.
_KEPT: Final = 400


class Exposures:
    """Makes the exposures of one session.

    Parameters
    ----------
    session
        Whose microscope, budget, record and clock are used.
    judge
        What judges frames.
    stop
        Ends everything.
    """

    def __init__(self, session: Session, judge: Judge, stop: Stop) -> None:
        self._session, self._judge, self._stop = session, judge, stop
        self._views: OrderedDict[str, View] = OrderedDict()
        self._counters: Counter[str] = Counter()
        self._made: set[str] = set()
        self._offset_nm = (0.0, 0.0)

    def next_key(self, name: str) -> str:
        """A name that the same script gives again when it is run again."""
        self._counters[name] += 1
        return f"{name} {self._counters[name]}"

    def is_made(self, key: str) -> bool:
        """Whether the exposure was begun already, in this session or in the record that it resumes."""
        record = self._session.record
        return key in self._made or (record is not None and key in record.intended_keys())

    def view(self, key: str) -> View | None:
        """A view of this session."""
        return self._views.get(key)

    def remember(self, view: View) -> None:
        """Keep a view, in place of one of the same key."""
        self._views[view.key] = view
        while len(self._views) > _KEPT:
            self._views.popitem(last=False)

    def newest_first(self) -> Iterator[View]:
        """Every view that is kept."""
        return iter(list(reversed(self._views.values())))

    def earlier(self, request: ScanRequest, common: float) -> View | None:
        """Newest view that was judged and shows so much of a field."""
        moved = self._session.drift.moved
        now = self._session.clock()
        for view in self.newest_first():
            dy, dx = moved(view.middle_ns, now)
            y, x = request.centre_nm
            there = msgspec.structs.replace(request, centre_nm=(y - dy, x - dx))
            if view.result.refusal is None and view.overlap(there) >= common:
                return view
        return None

    def look(self, request: ScanRequest, rule: str, key: str) -> View:
        """Scan and judge a field, or replay it."""
        key = key or self.next_key(rule)
        if self.is_made(key):
            return self._replay(request, rule, key)
        self._check_width(request)  # before anything is written down as exposed
        number = self._begin(request, rule, key)
        if number is None:
            view = self._unseen(request, key, _DRY_RUN)
            self.remember(view)
            return view
        session = self._session
        frame = session.microscope.scan(self._in_reach(request))
        frame = msgspec.structs.replace(frame, request=request)
        self._stop.raise_if_set()
        result = self._judge.analyze(frame.image, frame.context, frame.frame)
        view = View(frame, result, request, key)
        if session.record is not None:
            session.record.exposure_done(number, frame, result)
        self.remember(view)
        session.events.fire(SessionEvent("exposure", f"{rule}: {key}", view))
        self._stop.raise_if_set()
        return view

    def rest(self, request: ScanRequest, rule: str, key: str, act: Callable[[], T]) -> T | None:
        """Rest the beam on a point while something is done."""
        number = self._begin(request, rule, key)
        if number is None:
            return None
        session = self._session
        started_ns = session.clock()
        try:
            self._stop.raise_if_set()
            self.park(request.centre_nm)
            session.microscope.unblank()
            done = act()
        finally:
            session.microscope.blank()
        if session.record is not None:
            frame = self._no_image(request, started_ns)
            session.record.exposure_done(number, frame, _refused(frame, NO_IMAGE))
        session.events.fire(SessionEvent("exposure", f"{rule}: {key}"))
        self._stop.raise_if_set()
        return done

    def park(self, position_nm: Pair) -> None:
        """Rest the probe at a place."""
        (y, x), (dy, dx) = position_nm, self._offset_nm
        if max(abs(y - dy), abs(x - dx)) > self._session.microscope.field_limit_nm / 2:
            self.shift_to(position_nm)
            dy, dx = self._offset_nm
        self._session.microscope.park((y - dy, x - dx))

    def shift_to(self, place_nm: Pair) -> None:
        """Shift so that a place lies in the middle of the scan range."""
        session = self._session
        dy, dx = (p - o for p, o in zip(place_nm, self._offset_nm, strict=True))
        if session.dry_run:
            session.events.fire(SessionEvent("dry run", f"would shift by ({dy:.3f}, {dx:.3f}) nm"))
            return
        self._stop.raise_if_set()
        session.microscope.shift(dy, dx)
        self._offset_nm = place_nm
        session.drift.disturb(session.clock(), SHIFT_ERROR * (dy * dy + dx * dx) ** 0.5)

    def _begin(self, request: ScanRequest, rule: str, key: str) -> int | None:
        """Hold the limits and write the intention; None in a dry run."""
        session = self._session
        self._stop.raise_if_set()
        dose = session.microscope.dose_e_per_angstrom2(request)
        try:
            session.budget.may(request, dose)
        except LimitReached as limit:
            evidence = {
                "key": key, "request": msgspec.to_builtins(request), "dose_e_per_angstrom2": dose,
                "spent": msgspec.to_builtins(session.budget.spent),
            }  # fmt: skip
            session.decide(rule, evidence, LIMIT_REACHED + limit.name)
            session.events.fire(SessionEvent("limit", str(limit)))
            raise
        self._made.add(key)
        if session.dry_run:
            session.budget.spend(request, dose)
            would = f"would expose {key} at {request.centre_nm} nm with {formats.dose(dose)}"
            session.decide(rule, {"key": key, "request": msgspec.to_builtins(request)}, would)
            session.events.fire(SessionEvent("dry run", would))
            return None
        number = 0 if session.record is None else session.record.exposure_intended(key, request, dose, rule)
        session.budget.spend(request, dose)
        return number

    def _check_width(self, request: ScanRequest) -> None:
        """Raise `InputError` for a field that no shift brings into the scan range."""
        widest = self._session.microscope.field_limit_nm
        if max(request.extent_nm) > widest:
            raise InputError(
                f"A field of {request.field_of_view_nm:g} nm is wider than the microscope scans ({widest:g} nm). Zoom in."
            )

    def _in_reach(self, request: ScanRequest) -> ScanRequest:
        """The request in scan coordinates as they are now; shifts where the field lies beyond the scan range."""
        reach = self._session.microscope.field_limit_nm / 2
        half = max(request.extent_nm) / 2
        (y, x), (dy, dx) = request.centre_nm, self._offset_nm
        if max(abs(y - dy), abs(x - dx)) + half > reach:
            self.shift_to(request.centre_nm)
            dy, dx = self._offset_nm
        return msgspec.structs.replace(request, centre_nm=(y - dy, x - dx))

    def _replay(self, request: ScanRequest, rule: str, key: str) -> View:
        session = self._session
        view = self._views.get(key)
        if view is None:
            loaded = session.record.load_view(key) if session.record is not None else None
            if loaded is None:
                # It was begun and never finished: the specimen got it, and must not get it again.
                return self._unseen(request, key, _INTERRUPTED)
            view = View(*loaded, loaded[0].request, key)
        view = msgspec.structs.replace(view, replayed=True)
        self.remember(view)
        session.events.fire(SessionEvent("replayed", f"{rule}: {key}", view))
        return view

    def _unseen(self, request: ScanRequest, key: str, why: Refusal) -> View:
        """A view of nothing, refused, so that there are no targets in it."""
        now = self._session.clock()
        channels = request.channels or self._session.microscope.channels[:1]
        frame = ScannedFrame(
            images={c: np.full(request.shape, np.nan, np.float32) for c in channels},
            contexts={c: self._session.microscope.context(c) for c in channels},
            frame=FrameIdentity(shape=request.shape),
            request=request,
            started_ns=now,
            ended_ns=now,
        )
        return View(frame, _refused(frame, why), request, key, replayed=why is _INTERRUPTED)

    def _no_image(self, request: ScanRequest, started_ns: int) -> ScannedFrame:
        context = self._session.microscope.context()
        return ScannedFrame(
            {context.channel: np.zeros((0, 0), np.float32)}, {context.channel: context}, FrameIdentity(),
            request, started_ns, self._session.clock(),
        )  # fmt: skip


_DRY_RUN: Final = Refusal("dry_run", "Nothing was scanned: this is a dry run.", "Run it without dry run.")
_INTERRUPTED: Final = Refusal(
    "interrupted",
    "This exposure was begun by a session that ended before its frame was recorded. It is not repeated.",
    "Give it another key to expose the field again.",
)
#: Of an exposure that is no frame.
NO_IMAGE: Final = Refusal("no_image", "The beam rested on a point.", "There is nothing to judge.")


def _refused(frame: ScannedFrame, why: Refusal) -> FrameResult:
    candidates = frame.context.candidates
    return FrameResult(
        frame=frame.frame,
        context=frame.context,
        candidates=candidates,
        sites=SiteTable.empty(len(candidates)),
        refusal=why,
    )
