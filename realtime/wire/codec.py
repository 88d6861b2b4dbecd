"""Messages to and from the parts that ZeroMQ carries. A message is checked whole before its arrays are touched."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.wire import limits as lim
from realtime.wire.limits import Limits
from realtime.wire.messages import (
    AnyRequest,
    ArraySpec,
    Envelope,
    FrameRequest,
    PatchesRequest,
    Reply,
    Request,
    RowsRequest,
    Status,
    WireError,
)
from realtime.wire.packing import pack, unpack

Part = bytes | memoryview
AnyArray = NDArray[Any]
Arrays = dict[str, AnyArray]
Header = TypeVar("Header", bound=Request | Reply)

_PREAMBLE: Final = struct.Struct("<4sH")
PREAMBLE: Final = _PREAMBLE.pack(lim.MAGIC, lim.MAJOR)

#: Arrays that belong to each request: name to (type, rank); an image may be of any type of the wire.
_EXPECTED: Final[dict[type, dict[str, tuple[str, int]]]] = {
    FrameRequest: {"image": ("", 2)},
    RowsRequest: {"image": ("", 2)},
    PatchesRequest: {"patches": ("<f4", 3), "y_px": ("<f4", 1), "x_px": ("<f4", 1), "sublattice": ("u1", 1)},
}

#: Arrays that may come as ``<u2`` with a scaling.
_PACKABLE: Final = ("image", "patches")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} does not cross the wire")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_plain)
_REQUESTS: Final = msgspec.msgpack.Decoder(AnyRequest)
_REPLIES: Final = msgspec.msgpack.Decoder(Reply)
_ENVELOPE: Final = msgspec.msgpack.Decoder(Envelope)


def wire_array(array: AnyArray) -> AnyArray:
    """Make an array fit for the wire: C order, little endian, an allowed type, without loss where one exists.

    Raises
    ------
    WireError
        Complex, object, structured and other arrays that have no place on the wire.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "buif":
        raise WireError(
            Status.BAD_REQUEST, f"An array of type {array.dtype} cannot be sent. Send real numbers."
        )
    target = {
        ("b", 1): "u1", ("u", 1): "u1", ("u", 2): "<u2", ("u", 4): "<u4",
        ("i", 1): "<i2", ("i", 2): "<i2", ("f", 2): "<f4", ("f", 4): "<f4",
    }.get((kind, size), "<f8")  # fmt: skip
    return np.ascontiguousarray(array, dtype=target)


def encode(
    header: Header, arrays: Mapping[str, AnyArray] | None = None, *, packed: Sequence[str] = ()
) -> list[Part]:
    """Lay a message out as parts; arrays that are C-ordered already are not copied.

    Parameters
    ----------
    packed
        Arrays that may travel as u16 with a scaling, where `realtime.wire.packing.pack` finds the loss small.
    """
    ready, specs = [], []
    for name, given in (arrays or {}).items():
        numbers, scaling = (pack(given) if name in packed else None) or (given, None)
        array = wire_array(numbers)
        ready.append(array)
        specs.append(ArraySpec(name, _dtype_name(array), array.shape, array.nbytes, scaling))
    encoded = _ENCODER.encode(msgspec.structs.replace(header, arrays=tuple(specs)))
    if len(encoded) > lim.MAX_HEADER_BYTES:
        raise WireError(Status.TOO_LARGE, f"A header of {len(encoded)} bytes is over {lim.MAX_HEADER_BYTES}.")
    return [PREAMBLE, encoded, *(memoryview(a.data).cast("B") if a.size else b"" for a in ready)]


def check_preamble(parts: Sequence[Part]) -> None:
    """Raise `WireError` where this is not our protocol, or another major version of it."""
    if not parts or len(parts[0]) != _PREAMBLE.size:
        raise WireError(Status.BAD_REQUEST, "This is not a stemctx message: it does not begin with STX1.")
    magic, major = _PREAMBLE.unpack(parts[0])
    if magic != lim.MAGIC:
        raise WireError(Status.BAD_REQUEST, "This is not a stemctx message: it does not begin with STX1.")
    if major != lim.MAJOR:
        older = "this side" if major > lim.MAJOR else "the other side"
        raise WireError(
            Status.UNSUPPORTED_VERSION,
            f"The other side speaks version {major} of the wire, this side {lim.MAJOR}. Upgrade stemctx on {older}.",
        )


def decode_request(parts: Sequence[Part], limits: Limits) -> tuple[AnyRequest, Arrays]:
    """Read a request and its arrays (read-only views).

    Raises
    ------
    WireError
        With the status that the sender should be answered with.
    """
    check_preamble(parts)
    request = _header(_REQUESTS, parts)
    total = sum(spec.nbytes for spec in request.arrays)
    if total > limits.max_bytes:
        raise WireError(
            Status.TOO_LARGE,
            f"The arrays take {total} bytes, this server takes {limits.max_bytes}. Send fewer rows or a smaller type.",
        )
    _check_expected(request)
    if isinstance(request, FrameRequest | RowsRequest):
        _check_size(request, limits)
    return request, _arrays(request.arrays, parts)


def decode_reply(parts: Sequence[Part]) -> tuple[Reply, Arrays]:
    """Read a reply and its arrays; raise `WireError` where it is damaged or of another version."""
    check_preamble(parts)
    reply = _header(_REPLIES, parts)
    if any(spec.scaling is not None for spec in reply.arrays):
        raise WireError(Status.BAD_REQUEST, "The arrays of a reply are never packed.")
    return reply, _arrays(reply.arrays, parts)


def peek(parts: Sequence[Part]) -> Envelope:
    """Session and id of a request that could not be taken; zeros where not even these can be read."""
    try:
        if len(parts) > 1 and len(parts[1]) <= lim.MAX_HEADER_BYTES:
            return _ENVELOPE.decode(parts[1])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    return Envelope()


def _header(decoder: msgspec.msgpack.Decoder[Any], parts: Sequence[Part]) -> Any:
    if not 2 <= len(parts) <= lim.MAX_PARTS:
        raise WireError(
            Status.BAD_REQUEST, f"A message of {len(parts)} parts cannot be: expected 2 to {lim.MAX_PARTS}."
        )
    if len(parts[1]) > lim.MAX_HEADER_BYTES:
        raise WireError(Status.TOO_LARGE, f"A header of {len(parts[1])} bytes is over {lim.MAX_HEADER_BYTES}.")
    try:
        return decoder.decode(parts[1])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise WireError(Status.BAD_REQUEST, f"The header cannot be read: {_one_line(error)}.") from error


def _check_expected(request: AnyRequest) -> None:
    expected = _EXPECTED.get(type(request), {})
    if [spec.name for spec in request.arrays] != list(expected):
        raise WireError(Status.BAD_REQUEST, f"Expected the arrays {list(expected)} in this order.")
    for spec in request.arrays:
        dtype, rank = expected[spec.name]
        if spec.scaling is not None and spec.name in _PACKABLE:
            dtype = "<u2"
        if len(spec.shape) != rank or (dtype and spec.dtype != dtype) or 0 in spec.shape[1:]:
            raise WireError(
                Status.BAD_REQUEST,
                f"Array '{spec.name}' is {spec.dtype} {spec.shape}; expected rank {rank}{' of ' + dtype if dtype else ''}.",
            )
        if spec.scaling is not None and spec.name not in _PACKABLE:
            raise WireError(Status.BAD_REQUEST, f"Array '{spec.name}' cannot be packed. Send its values.")
    if isinstance(request, PatchesRequest):
        count, *sides = request.arrays[0].shape
        if tuple(sides) != (lim.PATCH_SIDE, lim.PATCH_SIDE) or any(
            s.shape != (count,) for s in request.arrays[1:]
        ):
            raise WireError(
                Status.BAD_REQUEST, f"Patches are (n, {lim.PATCH_SIDE}, {lim.PATCH_SIDE}), the others (n,)."
            )
    elif isinstance(request, FrameRequest | RowsRequest) and 0 in request.arrays[0].shape:
        raise WireError(Status.BAD_REQUEST, "The image has no pixels.")
    if isinstance(request, RowsRequest):
        _check_rows(request)


def _check_rows(request: RowsRequest) -> None:
    rows, columns = request.arrays[0].shape
    last, frame = request.first_row + rows, request.frame
    if columns != frame.shape[1] or last > frame.shape[0] or last != frame.valid_rows:
        raise WireError(
            Status.BAD_REQUEST,
            f"Rows {request.first_row} to {last} of {columns} pixels do not fit a frame of {frame.shape} of which "
            f"{frame.valid_rows} rows are said to be there.",
        )


def _check_size(request: FrameRequest | RowsRequest, limits: Limits) -> None:
    image = request.arrays[0]
    # Room for the whole frame is taken with its first rows, in the type that the analysis gets.
    rows = isinstance(request, RowsRequest)
    shape = request.frame.shape if rows else image.shape
    itemsize = 4 if image.scaling is not None else np.dtype(image.dtype).itemsize
    if max(*shape, *image.shape) > limits.max_side or (rows and math.prod(shape) * itemsize > limits.max_bytes):
        raise WireError(
            Status.TOO_LARGE,
            f"An image of {shape} pixels is over {limits.max_side} a side or {limits.max_bytes} bytes. "
            "Scan a smaller frame.",
        )


def _arrays(specs: Sequence[ArraySpec], parts: Sequence[Part]) -> Arrays:
    if len(parts) != 2 + len(specs):
        raise WireError(Status.BAD_REQUEST, f"{len(parts) - 2} arrays came, the header declares {len(specs)}.")
    arrays: Arrays = {}
    for spec, part in zip(specs, parts[2:], strict=True):
        dtype = np.dtype(spec.dtype)
        # Python integers do not overflow, so the product cannot wrap round to the length of the part.
        if not math.prod(spec.shape) * dtype.itemsize == spec.nbytes == len(part):
            raise WireError(
                Status.BAD_REQUEST,
                f"Array '{spec.name}' of {spec.dtype} {spec.shape} does not fit its {len(part)} bytes.",
            )
        if spec.name in arrays:
            raise WireError(Status.BAD_REQUEST, f"Array '{spec.name}' came twice.")
        numbers = np.frombuffer(part, dtype).reshape(spec.shape)
        # ZeroMQ hands out buffers at any address; compiled loops want aligned ones.
        arrays[spec.name] = (
            np.require(numbers, requirements="A") if spec.scaling is None else unpack(numbers, spec.scaling)
        )
    return arrays


def _dtype_name(array: AnyArray) -> str:
    return array.dtype.str.replace("|", "")


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))[:300]
