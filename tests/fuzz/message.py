"""One fuzzed input: bytes to the parts of a message, and everything that a server or a client does with them.

An input is a list of parts, each a little-endian u16 length and as many bytes; the last takes what there is.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence

from realtime.server.assembly import FrameAssembly
from realtime.wire import protocol
from realtime.wire.codec import AnyArray
from realtime.wire.messages import FrameRequest, RowsRequest, WireError

LIMITS = protocol.Limits(max_bytes=1 << 16, max_side=256)
_LENGTH = struct.Struct("<H")
_MOST_PARTS = 16


def parts_of(data: bytes) -> list[bytes]:
    """The parts that an input stands for."""
    parts: list[bytes] = []
    while len(data) >= _LENGTH.size and len(parts) < _MOST_PARTS:
        (length,) = _LENGTH.unpack_from(data)
        parts.append(data[_LENGTH.size : _LENGTH.size + length])
        data = data[_LENGTH.size + length :]
    return parts


def input_of(parts: Sequence[protocol.Part]) -> bytes:
    """The input that stands for a message."""
    return b"".join(_LENGTH.pack(len(part)) + bytes(part) for part in parts)


def read(data: bytes) -> None:
    """Read an input as a server and as a client do; anything but a `WireError` is a finding."""
    parts = parts_of(data)
    protocol.peek(parts)
    with contextlib.suppress(WireError):
        request, arrays = protocol.decode_request(parts, LIMITS)
        assert sum(array.nbytes for array in arrays.values()) <= 2 * LIMITS.max_bytes
        if isinstance(request, FrameRequest | RowsRequest):
            _assemble(request, arrays["image"])
    with contextlib.suppress(WireError):
        protocol.decode_result(parts)


def _assemble(request: FrameRequest | RowsRequest, image: AnyArray) -> None:
    """Put the rows behind those of a frame that began with the first row, and into nothing."""
    for known in (0, 1):
        assembly = FrameAssembly()
        if known:
            first = FrameRequest(session=request.session, id=0, context=request.context, frame=request.frame)
            assembly.take(first, image[:1])
        with contextlib.suppress(WireError):
            taken = assembly.take(request, image)
            assert taken.ndim == 2
