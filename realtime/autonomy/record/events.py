"""What a record holds, as frozen events in the order in which they happened."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from realtime.autonomy.microscope import ScanRequest

#: Group of the file that they lie in.
EVENTS: Final = "events"
#: All events of a record together: some hundred thousand.
MAX_TEXT_BYTES: Final = 1 << 28


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every event says.

    Attributes
    ----------
    utc
        When it was written, ISO 8601.
    """

    utc: str


class SessionStarted(Event, frozen=True, tag="session started"):
    """A session began to write, the first or one that resumed.

    Attributes
    ----------
    session
        As it described itself.
    software
        Name to version.
    """

    session: dict[str, Any]
    software: dict[str, str] = {}


class ExposureIntended(Event, frozen=True, tag="exposure intended"):
    """There will be an exposure. From here on it counts as spent.

    Attributes
    ----------
    number
        Counts exposures from 1.
    key
        Stable name.
    rule
        Why.
    dose_e_per_angstrom2
        As expected.
    """

    number: int
    key: str
    rule: str
    request: ScanRequest
    dose_e_per_angstrom2: float


class ExposureDone(Event, frozen=True, tag="exposure done"):
    """Frame and result of an exposure are in the file.

    Attributes
    ----------
    flags
        Species to number of flags.
    refusal
        Why the frame was not judged, or empty.
    """

    number: int
    flags: dict[str, int]
    refusal: str = ""


class DecisionTaken(Event, frozen=True, tag="decision"):
    """What was decided, by which rule, on what evidence.

    Attributes
    ----------
    exposures, electrons
        Exposures begun so far, and what they cost.
    """

    rule: str
    evidence: dict[str, Any]
    action: str
    exposures: int
    electrons: float


class Noted(Event, frozen=True, tag="note"):
    """A remark."""

    text: str


class SessionEnded(Event, frozen=True, tag="session ended"):
    """The record was closed in good order."""


AnyEvent = SessionStarted | ExposureIntended | ExposureDone | DecisionTaken | Noted | SessionEnded
