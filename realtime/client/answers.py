"""A frame that was sent and what came back, for whoever keeps both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from realtime.wire.codec import AnyArray
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity, FrameResult


def utc_now() -> str:
    """Wall clock, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Answer:
    """A frame that was sent, and what came back.

    Attributes
    ----------
    image
        (rows, columns); must not change any more.
    since_ns
        `time.monotonic_ns` when its last row arrived.
    result
        None where it got none; `error` says why.
    ended_ns
        `time.monotonic_ns` when the answer came.
    utc
        The same moment, ISO 8601, for people.
    """

    image: AnyArray
    context: ImagingContext
    frame: FrameIdentity
    since_ns: int
    result: FrameResult | None = None
    error: str = ""
    model_sha256: str = ""
    ended_ns: int = field(default_factory=time.monotonic_ns)
    utc: str = field(default_factory=utc_now)
