"""How a client says that its server is, and what became of its frames."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from stemctx_core.errors import InputError


class ClientState(StrEnum):
    """How the server is, as the panel shows it."""

    OFF = "off"
    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    REFUSED = "refused"
    FAILED = "failed"


class AgeLimits(msgspec.Struct, frozen=True):
    """How old live frames and their results may become.

    Attributes
    ----------
    wait_s
        A frame that waited longer than this for its turn, here or inside the server, is dropped and counted (s).
    answer_s
        A result that comes longer than this after the last row of its frame counts as stale (s).
    discard_s
        A result that would be handed over longer than this after the last row of its frame is dropped and counted
        instead, and a frame that is as old already is not judged (s); None hands over results of any age.
    """

    wait_s: float = 5.0
    answer_s: float = 5.0
    discard_s: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"An age limit {name} of {value} s cannot be. Give a positive number of seconds."
                )

    def is_too_old(self, age_s: float) -> bool:
        """Whether a result of this age is not handed over any more."""
        return self.discard_s is not None and age_s > self.discard_s

    def left_s(self, queued_ns: int, since_ns: int, now_ns: int) -> float:
        """How long a live frame may still wait for its turn; below 0 it is too old.

        Parameters
        ----------
        queued_ns, since_ns, now_ns
            `time.monotonic_ns` when it was submitted, when its last row arrived, and now.
        """
        left = self.wait_s - (now_ns - queued_ns) / 1e9
        return left if self.discard_s is None else min(left, self.discard_s - (now_ns - since_ns) / 1e9)


class ClientCounters(msgspec.Struct, frozen=True):
    """What became of the frames.

    ``submitted`` is the sum of ``answered``, ``replaced``, ``dropped`` and ``errors``, and of the two at most that are
    still on their way: one that waits and one under way.

    Attributes
    ----------
    answered
        Got a result.
    stale
        Those of the answered whose result was older than the bound on age.
    replaced
        Overwritten by a newer frame before they were sent.
    dropped
        Not sent, not answered or not handed over because they were older than a bound, or belong to a scan that is over.
    discarded
        Those of the dropped whose result came, later than `AgeLimits.discard_s` allows.
    late
        Replies that nobody waited for any more: late, repeated or out of order. Not frames.
    errors
        Frames without a result: refused by the server, timed out, lost with the connection, or deadly to the server.
    malformed
        Replies that could not be read.
    """

    submitted: int = 0
    answered: int = 0
    stale: int = 0
    replaced: int = 0
    dropped: int = 0
    discarded: int = 0
    late: int = 0
    errors: int = 0
    malformed: int = 0
