"""How many messages a peer may send: one that floods is told to wait, and the others do not notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MOST_PEERS: Final = 1024


@dataclass
class _Bucket:
    tokens: float
    at_ns: int


class Quota:
    """A token bucket for each peer, full at one second's worth.

    Parameters
    ----------
    per_s
        Messages a second that a peer may send for ever.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: dict[bytes, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def takes(self, peer: bytes, now_ns: int) -> bool:
        """Whether one more message of this peer is within its quota; counts it if so."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            self._make_room(now_ns)
            bucket = self._buckets[peer] = _Bucket(self._per_s, now_ns)
        earned = (now_ns - bucket.at_ns) * 1e-9 * self._per_s
        bucket.tokens, bucket.at_ns = min(self._per_s, bucket.tokens + earned), now_ns
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    def _make_room(self, now_ns: int) -> None:
        """Forget who was silent for a second, since that bucket is full again; else whoever came first."""
        if len(self._buckets) < _MOST_PEERS:
            return
        for peer, bucket in list(self._buckets.items()):
            if now_ns - bucket.at_ns > 1_000_000_000:
                del self._buckets[peer]
        while len(self._buckets) >= _MOST_PEERS:
            del self._buckets[next(iter(self._buckets))]
