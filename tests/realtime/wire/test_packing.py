"""Real numbers as u16: half the bytes, a bounded loss, and none at all for counts."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.wire import protocol
from realtime.wire.messages import FrameRequest, PatchesRequest, Scaling, Status
from realtime.wire.packing import pack, unpack
from stemctx_core.results import FrameIdentity
from tests.realtime.support import context
from tests.realtime.wire.test_codec import LIMITS, PACKED, RESULT, changed, frame_request, parts_of, status_of


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-12, 1e12), offset=st.floats(-1e12, 1e12),
    dtype=st.sampled_from(["f4", "f8"]),
)  # fmt: skip
def test_the_loss_is_half_a_step(seed: int, scale: float, offset: float, dtype: str) -> None:
    image = (np.random.default_rng(seed).normal(size=(20, 30)) * scale + offset).astype(dtype)
    packed = pack(image)
    if packed is None:
        return
    numbers, scaling = packed
    assert numbers.dtype == np.uint16
    # Half a step, and what float32 cannot say of the values themselves.
    bound = 0.51 * scaling.gain + 2**-22 * float(np.abs(image).max())
    assert np.abs(unpack(numbers, scaling).astype(float) - image).max() <= bound
    quartiles = np.percentile(image.ravel(), [25, 75])
    assert scaling.gain <= max(1.0, 0.0101 * float(quartiles[1] - quartiles[0]))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("first", [0, 5000, 2**24 - 70_000])
def test_counts_come_back_exactly(dtype: str, first: int) -> None:
    counts = np.random.default_rng(1).poisson(40, (50, 50)).astype(dtype) + np.dtype(dtype).type(first)
    packed = pack(counts)
    assert packed is not None
    np.testing.assert_array_equal(unpack(*packed), counts)


@pytest.mark.parametrize(
    "image",
    [
        np.array([[0.5, np.nan]], np.float32), np.array([[0.5, np.inf]]), np.full((8, 8), 0.5, np.float32),
        np.zeros((0, 3), np.float32), np.zeros((8, 8), np.uint16), np.array([[0.5, 1e35]]),
        np.where(np.eye(64) > 0, 1e6, np.random.default_rng(0).random((64, 64))), np.zeros((2, 2), complex),
    ],
    ids=["not a number", "infinite", "constant", "empty", "u16 already", "beyond the wire", "hot pixels", "complex"],
)  # fmt: skip
def test_what_would_lose_is_not_packed(image: Any) -> None:
    assert pack(image) is None


def test_a_packed_frame_takes_half_the_bytes_and_arrives_as_float32() -> None:
    image = np.random.default_rng(2).normal(10, 1, (64, 64)).astype(np.float32)
    sent = protocol.encode(frame_request(), {"image": image}, packed=("image",))
    assert len(sent[2]) == image.nbytes / 2
    request, arrays = protocol.decode_request(sent, LIMITS)
    assert isinstance(request, FrameRequest)
    assert arrays["image"].dtype == np.float32
    np.testing.assert_allclose(arrays["image"], image, atol=1e-4)
    plain = protocol.encode(frame_request(), {"image": image})
    assert b"scaling" not in bytes(plain[1])


def test_patches_may_be_packed_and_their_places_may_not() -> None:
    patches = np.random.default_rng(0).random((4, 32, 32), np.float32)
    arrays = {
        "patches": patches, "y_px": np.arange(4, dtype=np.float32), "x_px": np.arange(4, dtype=np.float32),
        "sublattice": np.zeros(4, np.uint8),
    }  # fmt: skip
    request = PatchesRequest(session=bytes(16), id=1, context=context(), frame=FrameIdentity())
    _, got = protocol.decode_request(protocol.encode(request, arrays, packed=("patches",)), LIMITS)
    np.testing.assert_allclose(got["patches"], patches, atol=1e-5)
    assert (
        status_of([bytes(p) for p in protocol.encode(request, arrays, packed=("y_px",))]) is Status.BAD_REQUEST
    )


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "<f4", "nbytes": 256}, {"dtype": "u1"}, {"scaling": {"gain": 0.0, "offset": 0.0}},
        {"scaling": {"gain": -1.0, "offset": 0.0}}, {"scaling": {"gain": float("nan"), "offset": 0.0}},
        {"scaling": {"gain": 1.0, "offset": float("inf")}}, {"scaling": {"gain": 1e31, "offset": 0.0}},
        {"scaling": {"gain": 1.0}}, {"scaling": [1.0, 0.0]},
    ],
)  # fmt: skip
def test_a_scaling_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    (spec,) = msgspec.msgpack.decode(PACKED[1])["arrays"]
    assert status_of(changed(PACKED, arrays=[{**spec, **change}])) is Status.BAD_REQUEST


def test_the_arrays_of_a_reply_are_never_packed() -> None:
    specs = msgspec.msgpack.decode(RESULT[1])["arrays"]
    specs[0]["scaling"] = {"gain": 1.0, "offset": 0.0}
    with pytest.raises(protocol.WireError, match="never packed"):
        protocol.decode_reply(changed(RESULT, arrays=specs))


def test_a_scaling_is_what_the_page_says() -> None:
    numbers = np.array([0, 1, 65535], np.uint16)
    np.testing.assert_array_equal(unpack(numbers, Scaling(0.5, 10.0)), [10.0, 10.5, 32777.5])
    assert parts_of(frame_request(), {"image": np.zeros((2, 2))})
