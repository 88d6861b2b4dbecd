"""A session: looks, finds targets and acts on them, within limits, on the record, and to be stopped at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.autonomy.drift import DriftModel, Registration
from realtime.autonomy.limits import Budget, Limits
from realtime.autonomy.microscope import Microscope, Pair, ScannedFrame, ScanRequest
from stemctx_core.classes import Role
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity, FrameResult

T = TypeVar("T")


class Judge(Protocol):
    """`FrameAnalyzer`, or a `DefectClient` behind a line of code."""

    def analyze(self, image: NDArray[Any], context: ImagingContext, frame: FrameIdentity, /) -> FrameResult:
        """Judge a frame; one that cannot be judged is a refusal, not an exception."""


class Record(Protocol):
    """What a session asks of `realtime.autonomy.record.Recorder`."""

    def exposure_intended(self, key: str, request: ScanRequest, dose: float, rule: str) -> int:
        """Write, before the beam is on, that there will be an exposure; return its number."""

    def exposure_done(self, number: int, frame: ScannedFrame, result: FrameResult) -> None:
        """Write what came of it."""

    def decision(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision with its evidence."""

    def note(self, text: str) -> None:
        """Write a remark."""

    def done_keys(self) -> set[str]:
        """Keys of exposures that are whole in the record."""

    def intended_keys(self) -> set[str]:
        """Keys of exposures that were begun, finished or not."""

    def load_view(self, key: str) -> tuple[ScannedFrame, FrameResult] | None:
        """Frame and result of an exposure that is whole."""

    def spent(self) -> Sequence[tuple[ScanRequest, float]]:
        """Every exposure that was begun, with its dose (e/Å²), in order."""


class View(msgspec.Struct, frozen=True):
    """A frame and what is said of it.

    Attributes
    ----------
    frame
        As it came; in a dry run all NaN.
    result
        What the judge said.
    request
        What was asked for, in scan coordinates.
    key
        Stable name of the exposure.
    replayed
        Whether it comes from the record and nothing was exposed.
    site
        Row of the site that was zoomed on, where it was found again for sure.
    registration
        How it was found again, or why not.
    """

    frame: ScannedFrame
    result: FrameResult
    request: ScanRequest
    key: str
    replayed: bool = False
    site: int | None = None
    registration: Registration | None = None

    def to_nm(self, y_px: Any, x_px: Any) -> tuple[Any, Any]:
        """Scan coordinates (y, x; nm) of array-index coordinates; numbers or arrays."""
        r = self.request
        dy = (np.asarray(y_px, float) - (r.shape[0] - 1) / 2) * r.pixel_nm
        dx = (np.asarray(x_px, float) - (r.shape[1] - 1) / 2) * r.pixel_nm
        c, s = np.cos(r.rotation_rad), np.sin(r.rotation_rad)
        return r.centre_nm[0] + dy * c + dx * s, r.centre_nm[1] + dx * c - dy * s

    def to_px(self, y_nm: Any, x_nm: Any) -> tuple[Any, Any]:
        """Array-index coordinates of scan coordinates (nm)."""
        r = self.request
        dy, dx = np.asarray(y_nm, float) - r.centre_nm[0], np.asarray(x_nm, float) - r.centre_nm[1]
        c, s = np.cos(r.rotation_rad), np.sin(r.rotation_rad)
        return (
            (dy * c - dx * s) / r.pixel_nm + (r.shape[0] - 1) / 2,
            (dx * c + dy * s) / r.pixel_nm + (r.shape[1] - 1) / 2,
        )

    def row_ns(self, y_px: float) -> int:
        """When a row was scanned (`time.monotonic_ns`)."""
        part = (float(y_px) + 0.5) / self.request.shape[0]
        return int(self.frame.started_ns + part * (self.frame.ended_ns - self.frame.started_ns))


class SessionTarget(msgspec.Struct, frozen=True):
    """A site that may be acted on.

    Attributes
    ----------
    y_nm, x_nm
        Scan coordinates when it was seen.
    species, role, probability
        What stands there; probability of that species.
    posterior
        Species to probability.
    view
        Key of the view that it was seen in.
    seen_ns
        `time.monotonic_ns` when its row was scanned.
    site
        Row of the view's result.
    """

    y_nm: float
    x_nm: float
    species: str
    role: Role
    probability: float
    posterior: dict[str, float]
    view: str
    seen_ns: int
    site: int


class SessionEvent(msgspec.Struct, frozen=True):
    """What happened, for whoever shows it.

    Attributes
    ----------
    kind
        ``exposure``, ``replayed``, ``decision``, ``limit``, ``stopped``, ``note``.
    text
        In words.
    view
        Of an exposure.
    """

    kind: str
    text: str
    view: View | None = None


class Events:
    """Tells listeners; they are called on the session's thread."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[SessionEvent], None]] = []

    def listen(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call the listener from now on."""
        self._listeners.append(listener)

    def fire(self, event: SessionEvent) -> None:
        """Tell everyone."""
        for listener in self._listeners:
            listener(event)


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
        Nanoseconds, monotonic.
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
        self.judge = judge
        self.limits = limits or Limits()
        self.record = record
        self.dry_run = dry_run
        self.clock = clock
        self.budget = Budget(self.limits, clock)
        self.drift = DriftModel()
        self.events = Events()

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def look(self, request: ScanRequest, *, rule: str = "look", key: str = "") -> View:
        """Scan, judge and record a field.

        Parameters
        ----------
        rule
            Why, for the record.
        key
            Stable name of the exposure; by default a counter. One that the record holds is replayed.

        Raises
        ------
        LimitReached
            Nothing was exposed.
        Stopped
            The beam is off.
        """
        raise NotImplementedError

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

        Parameters
        ----------
        view
            Where to look; by default every view of the session, the newest first.
        species, roles
            What is wanted; None takes any defect.
        min_probability
            Of the most probable species of a flagged site.
        min_posterior
            Instead of flags: sites where the wanted species (with `species`) or any defect has at least this
            posterior, flagged or not.
        reregister
            Scan the field again first, to see how far it drifted; by default where the view is older than half of
            `Limits.max_age_s`, or the place less certain than `Limits.max_drift_angstrom`.
        """
        raise NotImplementedError

    def where(self, target: SessionTarget) -> Pair:
        """Scan coordinates of a target now, by the drift."""
        raise NotImplementedError

    def centre(self, target: SessionTarget) -> None:
        """Shift beam or stage so that the target lies in the middle of the scan range."""
        raise NotImplementedError

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
            With `View.site`, where the target was found again for sure.
        """
        raise NotImplementedError

    def dwell(self, target: SessionTarget, seconds: float, *, rule: str = "dwell", key: str = "") -> None:
        """Rest the beam on a target, then blank."""
        raise NotImplementedError

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
        """Scan a field around a target on all channels (or those named)."""
        raise NotImplementedError

    def acquire(
        self,
        target: SessionTarget,
        callback: Callable[[SessionTarget], T],
        *,
        seconds: float,
        rule: str = "acquire",
        key: str = "",
    ) -> T | None:
        """Rest the beam on a target while a callback acquires with another detector; None in a dry run.

        Parameters
        ----------
        seconds
            Exposure that is counted.
        """
        raise NotImplementedError

    def decide(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision to the record."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop from any thread: the beam is off when this returns."""
        raise NotImplementedError
