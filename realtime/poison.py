"""Frames that end the server: one that was under way twice when the server was lost is not sent a third time."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Final

import msgspec
import numpy as np

from realtime.mailbox import Ticket

_MOST_LOSSES: Final = 2
_KEPT: Final = 16
#: As long as crashes count against a local server.
_KEPT_NS: Final = 60_000_000_000


class Suspects:
    """Remembers, for a minute, what the server had in hand when it was lost.

    A frame goes by its pixels and its context, because a frame that is sent again may bear another name. Nothing is
    computed while there are no suspects.
    """

    def __init__(self) -> None:
        self._losses: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def lost(self, ticket: Ticket) -> bool:
        """Note that the server was lost with this frame in hand; say whether that makes it poison."""
        key, now = _key(ticket), time.monotonic_ns()
        losses = self._losses.pop(key, (0, 0))[0] + 1
        self._losses[key] = losses, now
        while len(self._losses) > _KEPT:
            self._losses.popitem(last=False)
        return losses >= _MOST_LOSSES

    def is_poison(self, ticket: Ticket) -> bool:
        """Whether this frame ended the server too often."""
        now = time.monotonic_ns()
        while self._losses and now - next(iter(self._losses.values()))[1] > _KEPT_NS:
            self._losses.popitem(last=False)
        return bool(self._losses) and self._losses.get(_key(ticket), (0, 0))[0] >= _MOST_LOSSES


def _key(ticket: Ticket) -> bytes:
    digest = hashlib.blake2b(msgspec.msgpack.encode(ticket.context), digest_size=16)
    digest.update(repr((ticket.image.shape, ticket.image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(ticket.image).data)
    return digest.digest()
