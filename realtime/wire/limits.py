"""What a message may hold; checked before anything is allocated for it."""

from __future__ import annotations

from typing import Final

import msgspec

#: First four bytes of every message.
MAGIC: Final = b"STX1"
#: A peer of another major version is refused in both directions.
MAJOR: Final = 1
#: A newer minor version adds operations; it never adds fields to the ones that exist.
MINOR: Final = 0

#: Little-endian types that may cross the wire. Nothing that could carry an object.
DTYPES: Final = ("u1", "<u2", "<u4", "<i2", "<f4", "<f8")

MAX_ARRAYS: Final = 8
MAX_RANK: Final = 3
#: Most elements along one axis of any array; images are held to `Limits.max_side` besides.
MAX_AXIS: Final = 1 << 22
MAX_HEADER_BYTES: Final = 256 * 1024
#: Magic, header and arrays.
MAX_PARTS: Final = 2 + MAX_ARRAYS
PATCH_SIDE: Final = 32
SESSION_BYTES: Final = 16


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server takes, told in its hello.

    Attributes
    ----------
    max_bytes
        All arrays of one request together.
    max_side
        Height and width of an image, in pixels.
    max_clients
        Clients that are served at a time.
    credit
        Requests that a client may have under way.
    requests_per_s
        Messages that a client may send a second, and as many at once; beyond it is answered `Status.BUSY`. A client
        that keeps to its credit does not come near.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_side: int = 8192
    max_clients: int = 32
    credit: int = 1
    requests_per_s: float = 200.0

    @property
    def max_message_part_bytes(self) -> int:
        """Where ZeroMQ itself cuts the connection.

        Twice what is taken, so that a request a little too large gets an answer that says so; ZeroMQ only drops
        the peer.
        """
        return 2 * self.max_bytes + MAX_HEADER_BYTES
