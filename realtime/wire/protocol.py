"""The wire, as the rest of the project sees it; the bytes are described in `docs/wire.md`.

A message is a ZeroMQ multipart: ``STX1`` with the major version, a msgpack header, raw arrays. Python objects never
cross the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime.wire.codec import (
    Arrays,
    Part,
    check_preamble,
    decode_reply,
    decode_request,
    encode,
    peek,
    wire_array,
)
from realtime.wire.limits import MAGIC, MAJOR, MINOR, Limits
from realtime.wire.messages import (
    AnyRequest,
    Bye,
    Cancel,
    Envelope,
    ErrorText,
    FrameRequest,
    Hello,
    PatchesRequest,
    Reply,
    ResultBody,
    RowsRequest,
    Scaling,
    ServerHello,
    ServerStatus,
    StageStatus,
    Status,
    StatusRequest,
    WireError,
)
from realtime.wire.result_codec import body_of, result_from
from stemctx_core.results import FrameResult

__all__ = [
    "MAGIC", "MAJOR", "MINOR", "AnyRequest", "Arrays", "Bye", "Cancel", "Envelope", "ErrorText", "FrameRequest",
    "Hello", "Limits", "Part", "PatchesRequest", "Reply", "ResultBody", "RowsRequest", "Scaling", "ServerHello", "ServerStatus", "StageStatus",
    "Status", "StatusRequest", "WireError", "check_preamble", "decode_reply", "decode_request", "decode_result",
    "encode", "encode_error", "encode_result", "peek", "result_from", "wire_array",
]  # fmt: skip


def encode_result(request: AnyRequest, result: FrameResult) -> list[Part]:
    """Lay out the reply that carries a result."""
    body, arrays = body_of(result)
    return encode(Reply(session=request.session, id=request.id, t_ns=request.t_ns, body=body), arrays)


def encode_error(to: AnyRequest | Envelope, status: Status, message: str) -> list[Part]:
    """Lay out the reply that says why a request was not done."""
    error = ErrorText(status.name.lower(), message[:2000])
    return encode(Reply(session=to.session, id=to.id, t_ns=to.t_ns, status=status, error=error))


def decode_result(parts: Sequence[Part]) -> FrameResult:
    """Read the result in a reply; raise `WireError` where it is an error reply or holds something else."""
    reply, arrays = decode_reply(parts)
    if reply.error is not None:
        raise WireError(reply.status, reply.error.message)
    if not isinstance(reply.body, ResultBody):
        raise WireError(Status.BAD_REQUEST, "The reply holds no result.")
    return result_from(reply.body, arrays)
