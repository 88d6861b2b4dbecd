"""What a record holds, as frozen events in the order in which they happened."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np

from realtime.autonomy.microscope import ScanRequest
from stemctx_core.errors import InputError

#: Longest event, in bytes of JSON.
MAX_EVENT_BYTES: Final = 1 << 20
#: All events of a record together: some hundred thousand.
MAX_TEXT_BYTES: Final = 1 << 28
_MAX_LISTED: Final = 1024


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


def electrons(request: ScanRequest, dose_e_per_angstrom2: float) -> float:
    """Electrons that an exposure puts on the specimen."""
    height, width = request.extent_nm
    return dose_e_per_angstrom2 * height * width * 100


def to_text(value: Any) -> bytes:
    """JSON of records, dicts, numbers, NumPy's too; not-a-number and infinity as Python writes them.

    Raises
    ------
    InputError
        Where it cannot be written or is too long.
    """
    try:
        text = json.dumps(msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"This cannot be recorded: {error}. Give numbers, texts, lists and dicts.") from error
    if len(text) > MAX_EVENT_BYTES:
        raise InputError(
            f"{len(text)} bytes are too many for one event of a record ({MAX_EVENT_BYTES}). Give less evidence."
        )
    return text


def from_text(text: bytes, kind: Any) -> Any:
    """Read what `to_text` wrote; raise ValueError (msgspec's included) or RecursionError where it is damaged."""
    return msgspec.convert(json.loads(text), kind)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size <= _MAX_LISTED and value.dtype.kind in "buif":
            return value.tolist()
        return f"array {value.shape} of {value.dtype}"
    return str(value)[:1000]
