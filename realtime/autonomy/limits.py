"""Limits that hold: what a session may cost, what it has cost, and how it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from realtime.autonomy.microscope import ScanRequest
from stemctx_core.errors import StemctxError


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
        Largest distance of the centre of a field from where the session began, along y and along x.
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
        Nanoseconds, monotonic.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.limits = limits or Limits()
        self._clock = clock

    def may(self, request: ScanRequest, dose_e_per_angstrom2: float) -> None:
        """Return where the exposure is within every limit.

        Raises
        ------
        LimitReached
            Which one would be passed.
        """
        raise NotImplementedError

    def spend(self, request: ScanRequest, dose_e_per_angstrom2: float) -> None:
        """Count an exposure."""
        raise NotImplementedError

    @property
    def spent(self) -> Spent:
        """So far."""
        raise NotImplementedError

    def dose_at(self, position_nm: tuple[float, float]) -> float:
        """Dose of a place so far (e/Å²)."""
        raise NotImplementedError


class Stop:
    """Stops a session from any thread.

    Parameters
    ----------
    act
        Called once by the thread that stops, after the flag is set: aborts the scan and blanks the beam.
    """

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self._event = threading.Event()
        self._act = act

    def set(self) -> None:
        """Stop; the beam is off when this returns."""
        raise NotImplementedError

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
