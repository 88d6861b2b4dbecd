"""Limits that hold: what a session may cost, what it has cost, and how it is stopped."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import msgspec

from realtime.autonomy.dose_map import DoseMap
from realtime.autonomy.microscope import Pair, ScanRequest
from stemctx_core.errors import InputError, StemctxError


class LimitReached(StemctxError):
    """A limit would be passed by what is asked for; nothing was exposed.

    Parameters
    ----------
    name
        Field of `Limits`, such as ``dose_per_site_e_per_angstrom2``.
    message
        What was asked for, what the limit is, and the fix.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Stopped(StemctxError):
    """Somebody stopped the session."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session may cost; None is no limit.

    Attributes
    ----------
    dose_per_site_e_per_angstrom2
        Of any place of the specimen, all exposures of it together.
    dose_per_session_electrons
        Electrons on the specimen.
    acquisitions
        Number of exposures.
    seconds
        Since the session was entered.
    field_nm
        Largest distance of the centre of a field from (0, 0), where the session began, along y and along x.
    max_age_s
        A target seen longer ago is no target; re-registered when half of it has passed.
    max_drift_angstrom
        A target whose place is less certain than this is re-registered before it is used.
    """

    dose_per_site_e_per_angstrom2: float | None = None
    dose_per_session_electrons: float | None = None
    acquisitions: int | None = None
    seconds: float | None = None
    field_nm: float | None = None
    max_age_s: float | None = None
    max_drift_angstrom: float | None = None


class Spent(msgspec.Struct, frozen=True):
    """What a session has cost.

    Attributes
    ----------
    electrons
        On the specimen.
    acquisitions
        Exposures.
    seconds
        Since the session was entered.
    max_dose_per_site
        Of the place that got most (e/Å²).
    """

    electrons: float = 0.0
    acquisitions: int = 0
    seconds: float = 0.0
    max_dose_per_site: float = 0.0


class Budget:
    """Counts exposures against limits, on any thread.

    Parameters
    ----------
    limits
        What may be spent.
    clock
        Nanoseconds, monotonic; time is counted from now.
    moved
        How far the specimen has moved at a time (ns; y, x in nm), so that dose is counted on the specimen; asked
        again for every exposure by `relay`.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        moved: Callable[[int], Pair] = lambda _: (0.0, 0.0),
    ) -> None:
        self.limits = _checked(limits or Limits())
        self._clock = clock
        self._moved = moved
        self._exposures: list[tuple[ScanRequest, float, int]] = []
        self._began_ns = clock()
        self._lock = threading.Lock()
        self._map = DoseMap()
        self._electrons = 0.0

    def may(self, request: ScanRequest, dose_e_per_angstrom2: float) -> None:
        """Return where the exposure is within every limit.

        Raises
        ------
        LimitReached
            Which one would be passed.
        InputError
            A dose or a request that cannot be.
        """
        _check(request, dose_e_per_angstrom2)
        limits, electrons = self.limits, request.electrons(dose_e_per_angstrom2)
        farthest = max(abs(c) for c in request.centre_nm)
        on_specimen = self._on_specimen(request, self._clock())
        with self._lock:
            wanted = {
                "field_nm": (farthest, "from where the session began (nm)"),
                "acquisitions": (len(self._exposures) + 1, "exposures"),
                "seconds": (self._seconds() + request.seconds, "s"),
                "dose_per_session_electrons": (self._electrons + electrons, "electrons"),
                "dose_per_site_e_per_angstrom2": (
                    self._map.largest_in(on_specimen) + dose_e_per_angstrom2,
                    "e/Å² on one place",
                ),
            }
        for name, (value, unit) in wanted.items():
            limit = getattr(limits, name)
            # Sums of doses may end a rounding error above what they should be.
            if limit is not None and value > limit * (1 + 1e-9):
                raise LimitReached(
                    name,
                    f"The limit {name} of {limit:.6g} would be passed: with this exposure it were {value:.6g} {unit}. "
                    "Nothing was exposed. End here, or give a new session a wider limit.",
                )

    def spend(self, request: ScanRequest, dose_e_per_angstrom2: float) -> None:
        """Count an exposure."""
        _check(request, dose_e_per_angstrom2)
        now = self._clock()
        with self._lock:
            self._exposures.append((request, dose_e_per_angstrom2, now))
            self._electrons += request.electrons(dose_e_per_angstrom2)
            self._map.add(self._on_specimen(request, now), dose_e_per_angstrom2)

    def relay(self) -> None:
        """Lay out all exposures again, now that more is known of how the specimen moved."""
        with self._lock:
            self._map = DoseMap()
            for request, dose, at_ns in self._exposures:
                self._map.add(self._on_specimen(request, at_ns), dose)

    @property
    def spent(self) -> Spent:
        """So far."""
        with self._lock:
            return Spent(self._electrons, len(self._exposures), self._seconds(), self._map.largest)

    def dose_at(self, position_nm: Pair) -> float:
        """Dose so far of what lies at a place now (e/Å²)."""
        dy, dx = self._moved(self._clock())
        with self._lock:
            return self._map.at((position_nm[0] - dy, position_nm[1] - dx))

    def _on_specimen(self, request: ScanRequest, at_ns: int) -> ScanRequest:
        dy, dx = self._moved(at_ns)
        y, x = request.centre_nm
        return msgspec.structs.replace(request, centre_nm=(y - dy, x - dx))

    def _seconds(self) -> float:
        return (self._clock() - self._began_ns) * 1e-9


class Stop:
    """Stops a session from any thread.

    Parameters
    ----------
    act
        Called by the thread that stops, after the flag is set: aborts the scan and blanks the beam.
    """

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self._event = threading.Event()
        self._act = act

    def set(self) -> None:
        """Stop; the beam is off when this returns."""
        self._event.set()
        self._act()

    def is_set(self) -> bool:
        """Whether somebody stopped."""
        return self._event.is_set()

    def raise_if_set(self) -> None:
        """Raise `Stopped` after a stop."""
        if self.is_set():
            raise Stopped("The session was stopped. Nothing more is exposed.")

    def wait(self, seconds: float) -> None:
        """Sleep; raise `Stopped` as soon as somebody stops."""
        self._event.wait(seconds)
        self.raise_if_set()


def _check(request: ScanRequest, dose_e_per_angstrom2: float) -> None:
    """Raise `InputError` for numbers that would slip through a comparison with a limit, such as NaN."""
    numbers = (*request.centre_nm, request.rotation_rad, dose_e_per_angstrom2)
    positive = (request.field_of_view_nm, request.dwell_s, *request.shape)
    if not (
        all(math.isfinite(n) for n in (*numbers, *positive))
        and all(n > 0 for n in positive)
        and dose_e_per_angstrom2 >= 0
    ):
        raise InputError(
            f"This exposure cannot be: {request} at {dose_e_per_angstrom2:g} e/Å². Give finite numbers, and field, "
            "shape and dwell time above 0."
        )


def _checked(limits: Limits) -> Limits:
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"The limit {name} of {value:g} cannot be. Give 0 or more, or leave it out.")
    return limits
