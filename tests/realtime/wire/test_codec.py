"""The wire: what goes in comes out, and nothing malformed gets in."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.wire import limits as lim
from realtime.wire import protocol
from realtime.wire.codec import PREAMBLE
from realtime.wire.messages import (
    Bye,
    Cancel,
    ErrorText,
    FrameRequest,
    Hello,
    PatchesRequest,
    ProcessStatus,
    Reply,
    RowsRequest,
    ServerHello,
    ServerStatus,
    StageStatus,
    Status,
    StatusRequest,
    WireError,
)
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult
from tests.realtime.support import context, image, refused, result

SESSION = bytes(range(16))
LIMITS = protocol.Limits(max_bytes=1_000_000, max_side=512)


def frame_request(**changes: Any) -> FrameRequest:
    given_ = {
        "session": SESSION,
        "id": 7,
        "t_ns": 123,
        "context": context(),
        "frame": FrameIdentity("s", 1, 64, (64, 64)),
    }
    return FrameRequest(**{**given_, **changes})


def parts_of(request: Any, arrays: dict[str, Any] | None = None) -> list[bytes]:
    return [bytes(part) for part in protocol.encode(request, arrays)]


def changed(parts: list[bytes], **fields: Any) -> list[bytes]:
    """The same message with fields of its header replaced, or removed where None."""
    header = msgspec.msgpack.decode(parts[1])
    for name, value in fields.items():
        if value is None:
            del header[name]
        else:
            header[name] = value
    return [parts[0], msgspec.msgpack.encode(header), *parts[2:]]


def status_of(parts: list[bytes]) -> Status:
    with pytest.raises(WireError) as caught:
        protocol.decode_request(parts, LIMITS)
    return caught.value.status


def assert_equal(left: FrameResult, right: FrameResult) -> None:
    for field in dataclasses.fields(FrameResult):
        if field.name == "sites":
            continue
        assert getattr(left, field.name) == getattr(right, field.name), field.name
    for field in dataclasses.fields(left.sites):
        mine, other = getattr(left.sites, field.name), getattr(right.sites, field.name)
        assert mine.dtype == other.dtype, field.name
        np.testing.assert_array_equal(mine, other, err_msg=field.name)


@pytest.mark.parametrize(
    "original", [result(500), result(0), refused()], ids=["500 sites", "no site", "refused"]
)
def test_a_result_comes_back_equal(original: FrameResult) -> None:
    parts = [bytes(p) for p in protocol.encode_result(frame_request(), original)]
    reply, _ = protocol.decode_reply(parts)
    assert (reply.session, reply.id, reply.t_ns, reply.status) == (SESSION, 7, 123, Status.OK)
    assert_equal(protocol.decode_result(parts), original)


def test_numpy_scalars_in_a_result_are_sent_as_numbers() -> None:
    original = dataclasses.replace(result(3), timing_ms={"sites": np.float64(1.25)})
    assert protocol.decode_result(protocol.encode_result(frame_request(), original)).timing_ms == {
        "sites": 1.25
    }


@pytest.mark.parametrize(
    "request_",
    [
        Hello(session=SESSION, id=1, client="test"),
        StatusRequest(session=SESSION, id=2, detail=True),
        Cancel(session=SESSION, id=3, target=1),
        Bye(session=SESSION, id=4),
    ],
    ids=lambda r: type(r).__name__,
)
def test_requests_without_arrays_come_back_equal(request_: Any) -> None:
    assert protocol.decode_request(parts_of(request_), LIMITS) == (request_, {})


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "f2", "f4", "f8", ">f4", ">u2", "i4", "?"])
def test_a_frame_of_any_real_type_keeps_its_values(dtype: str) -> None:
    pixels = np.arange(12).reshape(3, 4).astype(dtype)
    request, arrays = protocol.decode_request(parts_of(frame_request(), {"image": pixels}), LIMITS)
    np.testing.assert_array_equal(arrays["image"], pixels.astype(float))
    assert request.arrays[0].dtype in lim.DTYPES


def test_a_strided_read_only_frame_is_sent_in_c_order() -> None:
    pixels = np.arange(48, dtype=np.float32).reshape(6, 8)[::2, 1::2]
    pixels.flags.writeable = False
    _, arrays = protocol.decode_request(parts_of(frame_request(), {"image": pixels}), LIMITS)
    np.testing.assert_array_equal(arrays["image"], pixels)


def test_patches_come_back_equal() -> None:
    arrays = {
        "patches": np.random.default_rng(0).random((3, 32, 32), np.float32),
        "y_px": np.arange(3, dtype=np.float32),
        "x_px": np.arange(3, dtype=np.float32),
        "sublattice": np.array([0, 1, 0], np.uint8),
    }
    request = PatchesRequest(session=SESSION, id=1, context=context(), frame=FrameIdentity())
    decoded, got = protocol.decode_request(parts_of(request, arrays), LIMITS)
    assert isinstance(decoded, PatchesRequest)
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)
    arrays["patches"] = arrays["patches"][:, :31]
    assert status_of(parts_of(request, arrays)) is Status.BAD_REQUEST


@pytest.mark.parametrize(
    "body",
    [
        ServerHello(version="1", model="m", model_sha256="0", engine=EngineInfo("e", "r"), limits=LIMITS),
        ServerStatus(
            uptime_s=1.0, model="m", model_sha256="0", engine=EngineInfo("e", "r"), clients=1, queue_depth=0,
            under_way=0, process=ProcessStatus(5, 4, 3, 2.5), counters={"a": 1}, stages={"queue": StageStatus(1, 1.0, 2.0, 3.0, (0, 1))},
        ),
        None,
    ],
    ids=["hello", "status", "error"],
)  # fmt: skip
def test_replies_come_back_equal(body: Any) -> None:
    error = None if body else ErrorText("busy", "Wait.")
    reply = Reply(session=SESSION, id=1, body=body, error=error, status=Status.OK if body else Status.BUSY)
    assert protocol.decode_reply(parts_of(reply)) == (reply, {})


def test_arrays_at_odd_addresses_are_aligned() -> None:
    pixels = np.arange(12, dtype=np.float64).reshape(3, 4)
    parts: list[Any] = parts_of(frame_request(), {"image": pixels})
    shifted = bytearray(len(parts[2]) + 1)
    shifted[1:] = parts[2]
    parts[2] = memoryview(shifted)[1:]
    _, arrays = protocol.decode_request(parts, LIMITS)
    assert arrays["image"].flags.aligned
    np.testing.assert_array_equal(arrays["image"], pixels)


FRAME = parts_of(frame_request(), {"image": image(shape=(8, 8))})
SPEC = {"name": "image", "dtype": "<f4", "shape": [8, 8], "nbytes": 256}


def spec(**changes: Any) -> list[bytes]:
    return changed(FRAME, arrays=[{**SPEC, **changes}])


MALFORMED: dict[str, list[bytes]] = {
    "no part": [],
    "one empty part": [b""],
    "only the preamble": FRAME[:1],
    "another magic": [b"STX2\1\0", *FRAME[1:]],
    "preamble too long": [PREAMBLE + b"\0", *FRAME[1:]],
    "empty header": [PREAMBLE, b""],
    "random header": [PREAMBLE, b"\xc1\xff\x00garbage"],
    "a pickle as header": [PREAMBLE, b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94."],
    "truncated header": [FRAME[0], FRAME[1][:-5], FRAME[2]],
    "nested header": [PREAMBLE, b"\x91" * 60_000 + b"\xc0"],
    "huge map": [PREAMBLE, b"\xdf\xff\xff\xff\xff"],
    "unknown operation": changed(FRAME, op="upload"),
    "unknown field": changed(FRAME, model=b"\x00"),
    "missing field": changed(FRAME, context=None),
    "short session": changed(FRAME, session=b"short"),
    "negative id": changed(FRAME, id=-1),
    "id too large": changed(FRAME, id=2**64 - 1),
    "endless deadline": changed(FRAME, deadline_ms=float("inf")),
    "negative deadline": changed(FRAME, deadline_ms=-1.0),
    "array missing": FRAME[:2],
    "array too many": [*FRAME, b""],
    "a thousand parts": [*FRAME[:2], *[b""] * 1000],
    "payload too short": [*FRAME[:2], FRAME[2][:-1]],
    "payload too long": [*FRAME[:2], FRAME[2] + b"\0"],
    "negative side": spec(shape=[-8, -8]),
    "zero side": spec(shape=[0, 8], nbytes=0),
    "2^40 pixels": spec(shape=[2**20, 2**20], nbytes=2**42),
    "side beyond 64 bits": spec(shape=[2**63, 2]),
    # 2^22 · 2^22 · 2^22 · 4 bytes is 0 modulo 2^64: it would pass where integers wrap.
    "overflow": changed([*FRAME[:2], b""], arrays=[{**SPEC, "shape": [2**22] * 3, "nbytes": 0}]),
    "rank 1": spec(shape=[64]),
    "rank 9": spec(shape=[1] * 9),
    "nbytes differ": spec(nbytes=255),
    "another name": spec(name="mask"),
    **{f"type {t}": spec(dtype=t) for t in ("O", "<c8", ">f4", "<f4,<f4", "V4", "<U1", "f4", "<M8", "<i8", "")},
}  # fmt: skip


@pytest.mark.parametrize("parts", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_is_refused(parts: list[bytes]) -> None:
    assert status_of(parts) in (Status.BAD_REQUEST, Status.TOO_LARGE)


def test_the_message_that_the_malformed_ones_are_made_from_is_good() -> None:
    protocol.decode_request(FRAME, LIMITS)
    protocol.decode_request(spec(), LIMITS)


def test_too_large_says_so_before_anything_is_allocated() -> None:
    wide = parts_of(frame_request(), {"image": np.zeros((1, 513), np.uint8)})
    assert status_of(wide) is Status.TOO_LARGE
    # The declared gigabytes are not there: only the declaration is looked at.
    assert status_of(spec(shape=[2**15, 2**15], nbytes=2**32)) is Status.TOO_LARGE
    assert status_of([PREAMBLE, b"\x80" * (lim.MAX_HEADER_BYTES + 1)]) is Status.TOO_LARGE


@pytest.mark.parametrize("major", [0, 2, 65535])
def test_another_major_version_is_refused_with_the_way_out(major: int) -> None:
    parts = [b"STX1" + major.to_bytes(2, "little"), b"whatever that version sends"]
    with pytest.raises(WireError, match="Upgrade stemctx on") as caught:
        protocol.decode_request(parts, LIMITS)
    assert caught.value.status is Status.UNSUPPORTED_VERSION
    with pytest.raises(WireError, match="Upgrade stemctx on"):
        protocol.decode_reply(parts)


def test_a_newer_minor_version_is_welcome() -> None:
    hello = Hello(session=SESSION, id=1, minor=lim.MINOR + 1)
    assert protocol.decode_request(parts_of(hello), LIMITS)[0] == hello


@pytest.mark.parametrize("dtype", ["c8", "O", "M8[s]", "U3", "V4"])
def test_what_is_not_a_real_number_is_not_sent(dtype: str) -> None:
    with pytest.raises(WireError, match="Send real numbers"):
        protocol.encode(frame_request(), {"image": np.zeros((2, 2), dtype)})


@pytest.mark.parametrize(
    ("column", "value"), [("best", 99), ("best", -1), ("decision", 3), ("reason", 2), ("sublattice", 2)]
)
def test_a_result_that_points_outside_its_lists_is_refused(column: str, value: int) -> None:
    good = result(4)
    array = getattr(good.sites, column).copy()
    array[2] = value
    bad = dataclasses.replace(good, sites=dataclasses.replace(good.sites, **{column: array}))
    with pytest.raises(WireError, match=column):
        protocol.decode_result(protocol.encode_result(frame_request(), bad))


def test_a_result_whose_columns_differ_in_length_is_refused() -> None:
    good = result(4)
    bad = dataclasses.replace(good, sites=dataclasses.replace(good.sites, y_px=good.sites.y_px[:3]))
    with pytest.raises(WireError):
        protocol.decode_result(protocol.encode_result(frame_request(), bad))


def test_an_error_reply_is_not_a_result() -> None:
    parts = protocol.encode_error(frame_request(), Status.MODEL_ERROR, "It broke.")
    with pytest.raises(WireError, match="It broke") as caught:
        protocol.decode_result(parts)
    assert caught.value.status is Status.MODEL_ERROR


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=200), max_size=12))
def test_random_parts_never_raise_anything_else(parts: list[bytes]) -> None:
    for message in (parts, [PREAMBLE, *parts]):
        for decode in (
            lambda m: protocol.decode_request(m, LIMITS),
            protocol.decode_reply,
            protocol.decode_result,
        ):
            with pytest.raises(WireError):
                decode(message)
        protocol.peek(message)


ROWS = parts_of(
    RowsRequest(
        session=SESSION, id=8, context=context(), frame=FrameIdentity("s", 1, 10, (16, 8)), first_row=2
    ),
    {"image": image(shape=(8, 8))},
)
PACKED = [
    bytes(p)
    for p in protocol.encode(
        frame_request(), {"image": np.random.default_rng(0).random((8, 8))}, packed=("image",)
    )
]
RESULT = [bytes(p) for p in protocol.encode_result(frame_request(), result(6))]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_messages_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([FRAME, ROWS, PACKED, RESULT]))
    parts = [bytearray(part) for part in original]
    for _ in range(data.draw(st.integers(1, 4))):
        part = parts[data.draw(st.integers(0, len(parts) - 1))]
        if part:
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del parts[data.draw(st.integers(0, len(parts) - 1))]
    message = [bytes(part) for part in parts]
    for decode in (lambda m: protocol.decode_request(m, LIMITS), protocol.decode_result):
        with contextlib.suppress(WireError):
            decode(message)


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(["op", "session", "id", "t_ns", "arrays", "context", "frame", "deadline_ms", "first_row"]),
    json,
)
def test_any_value_in_any_field_is_read_or_refused(field: str, value: Any) -> None:
    header = msgspec.msgpack.decode(ROWS[1])
    header[field] = value
    with contextlib.suppress(WireError):
        protocol.decode_request([ROWS[0], msgspec.msgpack.encode(header), *ROWS[2:]], LIMITS)
