"""Frames that end the server: one that was under way twice when the server was lost is not sent a third time."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Final

import msgspec
import numpy as np

from realtime.client.mailbox import Ticket

_MOST_LOSSES: Final = 2
_KEPT: Final = 16
#: As long as crashes count against a local server.
_KEPT_NS: Final = 60_000_000_000


class Suspects:
    """Remembers, for a minute, what the server had in hand when it was lost.

    A frame goes by its pixels and its context, because a frame that is sent again may bear another name; and by its
    name, because one that is being scanned comes again with more rows. Nothing is computed while there are no suspects.
    """

    def __init__(self) -> None:
        self._losses: OrderedDict[object, tuple[int, int]] = OrderedDict()

    def lost(self, ticket: Ticket) -> bool:
        """Note that the server was lost with this frame in hand; say whether that makes it poison."""
        now = time.monotonic_ns()
        for key in _keys(ticket):
            self._losses[key] = self._losses.pop(key, (0, 0))[0] + 1, now
        while len(self._losses) > _KEPT:
            self._losses.popitem(last=False)
        return self.is_poison(ticket)

    def is_poison(self, ticket: Ticket) -> bool:
        """Whether this frame ended the server too often."""
        now = time.monotonic_ns()
        while self._losses and now - next(iter(self._losses.values()))[1] > _KEPT_NS:
            self._losses.popitem(last=False)
        if not self._losses:
            return False
        return any(self._losses.get(key, (0, 0))[0] >= _MOST_LOSSES for key in _keys(ticket))


def _keys(ticket: Ticket) -> list[object]:
    digest = hashlib.blake2b(msgspec.msgpack.encode(ticket.context), digest_size=16)
    digest.update(repr((ticket.image.shape, ticket.image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(ticket.image).data)
    frame = ticket.frame
    return [digest.digest(), *([(frame.scan_id, frame.frame_index)] if frame.scan_id else [])]
