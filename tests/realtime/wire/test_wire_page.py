"""The examples and tables of `docs/wire.md` are what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest

from realtime.wire import limits as lim
from realtime.wire import protocol
from realtime.wire.messages import AnyRequest, FrameRequest, Hello, RowsRequest, Status, WireError
from stemctx_core.results import FrameIdentity
from tests.realtime.support import context

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
SESSION = bytes(range(16))


def example(name: str) -> list[bytes]:
    (block,) = re.findall(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
    return [bytes.fromhex(part) for part in block.split("-")[1:]]


def test_the_hello_is_read_and_written_as_printed() -> None:
    hello = Hello(session=SESSION, id=1, client="example")
    assert protocol.decode_request(example("hello"), protocol.Limits()) == (hello, {})
    assert [bytes(p) for p in protocol.encode(hello)] == example("hello")


def test_the_frame_is_read_and_written_as_printed() -> None:
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    request, arrays = protocol.decode_request(example("frame"), protocol.Limits())
    assert isinstance(request, FrameRequest)
    assert (request.context, request.frame) == (context(), FrameIdentity("scan-1", 3, 2, (2, 3)))
    np.testing.assert_array_equal(arrays["image"], pixels)
    sent = FrameRequest(session=SESSION, id=2, context=request.context, frame=request.frame)
    assert [bytes(p) for p in protocol.encode(sent, {"image": pixels})] == example("frame")


def test_the_rows_are_read_and_written_as_printed() -> None:
    request, arrays = protocol.decode_request(example("rows"), protocol.Limits())
    assert isinstance(request, RowsRequest)
    assert (request.first_row, request.frame) == (2, FrameIdentity("scan-1", 3, 3, (3, 3)))
    np.testing.assert_array_equal(arrays["image"], [[6, 7, 8]])
    sent = msgspec.structs.replace(request, arrays=())
    assert [bytes(p) for p in protocol.encode(sent, {"image": np.array([[6, 7, 8]], np.uint16)})] == example(
        "rows"
    )


def test_the_packed_frame_is_read_and_written_as_printed() -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
    request, arrays = protocol.decode_request(example("packed"), protocol.Limits())
    assert request.arrays[0].scaling == protocol.Scaling(1.25 / 65535, 0.0)
    np.testing.assert_allclose(arrays["image"], pixels, atol=0.51 * 1.25 / 65535)
    sent = msgspec.structs.replace(request, arrays=())
    assert [bytes(p) for p in protocol.encode(sent, {"image": pixels}, packed=("image",))] == example("packed")


def test_the_error_is_read_as_printed() -> None:
    reply, _ = protocol.decode_reply(example("busy"))
    assert (reply.id, reply.t_ns, reply.status) == (2, 7, Status.BUSY)
    with pytest.raises(WireError, match="Close one"):
        protocol.decode_result(example("busy"))


def test_every_status_stands_in_the_table() -> None:
    assert {int(n): name for n, name in re.findall(r"^\| (\d) \| `(\w+)` \|", PAGE, re.MULTILINE)} == {
        status.value: status.name for status in Status
    }


def test_every_request_stands_in_the_table_with_its_fields() -> None:
    common = {"session", "id", "t_ns", "arrays"}
    told = {
        op: set(re.findall(r"`(\w+)`", fields))
        for op, fields in re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    assert told == {
        kind.__struct_config__.tag: {f.name for f in msgspec.structs.fields(kind)} - common
        for kind in get_args(AnyRequest)
    }


def test_types_and_limits_are_those_of_the_code() -> None:
    limits = protocol.Limits()
    assert ", ".join(f"`{name}`" for name in lim.DTYPES) in PAGE
    spoken = f"{limits.max_bytes >> 20} MiB together, images {limits.max_side} pixels a side, {limits.max_clients} clients"
    assert spoken in PAGE
    assert f"{limits.requests_per_s:g} requests a second" in PAGE
    assert f"headers {lim.MAX_HEADER_BYTES >> 10} KiB" in PAGE
