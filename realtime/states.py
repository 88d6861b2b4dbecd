"""How a client says that its server is, and what became of its frames."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ClientState(StrEnum):
    """How the server is, as the panel shows it."""

    OFF = "off"
    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    REFUSED = "refused"
    FAILED = "failed"


class ClientCounters(msgspec.Struct, frozen=True):
    """What became of the frames.

    ``submitted`` is the sum of ``answered``, ``replaced`` and ``errors``, and of the few still on their way.

    Attributes
    ----------
    replaced
        Overwritten by a newer frame before they were sent.
    late
        Replies that nobody waited for any more: late, repeated or out of order. Not frames.
    errors
        Frames without a result: refused by the server, timed out, lost with the connection, or too old to send.
    malformed
        Replies that could not be read.
    """

    submitted: int = 0
    answered: int = 0
    replaced: int = 0
    late: int = 0
    errors: int = 0
    malformed: int = 0
