"""New rows of a frame: put together as they come, whatever becomes of the requests that brought them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from realtime.server.assembly import FrameAssembly
from realtime.server.pipeline import FramePipeline
from realtime.wire import protocol
from realtime.wire.messages import FrameRequest, RowsRequest, Status, WireError
from stemctx_core.results import FrameIdentity
from tests.realtime.server.test_server import peer, received
from tests.realtime.support import Held, KnownAnswers, context, serving, wait_for
from tests.realtime.wire.test_codec import LIMITS, parts_of, status_of

SESSION = b"r" * 16
HEIGHT, WIDTH = 40, 24
WHOLE = np.random.default_rng(3).random((HEIGHT, WIDTH), np.float32)


def rows(first: int, last: int, number: int = 1, **changes: Any) -> RowsRequest:
    given = {"frame": FrameIdentity("s", number, last, (HEIGHT, WIDTH)), "first_row": first, **changes}
    return RowsRequest(session=SESSION, id=last, context=context(), **given)


def begun(last: int, number: int = 1) -> FrameRequest:
    frame = FrameIdentity("s", number, last, (HEIGHT, WIDTH))
    return FrameRequest(session=SESSION, id=last, context=context(), frame=frame)


@pytest.mark.parametrize("start", ["frame", "rows"])
def test_rows_become_the_frame_so_far(start: str) -> None:
    assembly = FrameAssembly()
    first = begun(7) if start == "frame" else rows(0, 7)
    so_far = [assembly.take(first, WHOLE[:7])]
    for begin, end in ((7, 8), (8, 30), (30, 40)):
        so_far.append(assembly.take(rows(begin, end), WHOLE[begin:end]))
    for image in so_far:  # also those that were handed out before the later rows came
        np.testing.assert_array_equal(image, WHOLE[: len(image)])
    assert [len(image) for image in so_far] == [7, 8, 30, 40]
    assert not so_far[-1].flags.writeable
    assert np.shares_memory(so_far[1], so_far[3])


def test_rows_that_come_twice_stand_as_they_came_first() -> None:
    assembly = FrameAssembly()
    assembly.take(begun(10), WHOLE[:10])
    again = WHOLE[5:15].copy()
    again[:5] = -1
    np.testing.assert_array_equal(assembly.take(rows(5, 15), again), WHOLE[:15])
    np.testing.assert_array_equal(assembly.take(rows(5, 12), again[:7]), WHOLE[:12])


@pytest.mark.parametrize(
    ("request_", "dtype"),
    [
        (rows(11, 20), "f4"), (rows(10, 20, number=2), "f4"), (rows(10, 20), "u2"),
        (rows(10, 20, frame=FrameIdentity("other", 1, 20, (HEIGHT, WIDTH))), "f4"),
        (rows(10, 20, frame=FrameIdentity("s", 1, 20, (HEIGHT + 1, WIDTH))), "f4"),
    ],
    ids=["a gap", "another frame", "another type", "another scan", "another size"],
)  # fmt: skip
def test_rows_that_do_not_follow_are_asked_for_from_the_first(request_: RowsRequest, dtype: str) -> None:
    assembly = FrameAssembly()
    assembly.take(begun(10), WHOLE[:10])
    with pytest.raises(WireError, match="from row 0") as caught:
        assembly.take(request_, WHOLE[10:20].astype(dtype))
    assert caught.value.status is Status.ROWS_MISSING
    np.testing.assert_array_equal(assembly.take(rows(10, 20), WHOLE[10:20]), WHOLE[:20])


def test_a_whole_frame_leaves_nothing_to_add_to() -> None:
    assembly = FrameAssembly()
    assembly.take(begun(40), WHOLE)
    with pytest.raises(WireError):
        assembly.take(rows(10, 20), WHOLE[10:20])


@pytest.mark.parametrize(
    "request_",
    [
        rows(0, 11), rows(5, 10), rows(35, 45), rows(0, 10, frame=FrameIdentity("s", 1, 10, (HEIGHT, WIDTH + 1))),
        rows(0, 10, frame=FrameIdentity("s", 1, 10, (0, 0))), rows(0, 10, frame=FrameIdentity("s", 1, 10, (-40, WIDTH))),
    ],
    ids=["valid rows", "first row", "beyond the frame", "width", "no shape", "negative shape"],
)  # fmt: skip
def test_rows_that_do_not_fit_their_frame_are_malformed(request_: RowsRequest) -> None:
    assert status_of(parts_of(request_, {"image": WHOLE[:10]})) is Status.BAD_REQUEST


def test_room_for_the_whole_frame_is_bounded_before_it_is_taken() -> None:
    line = np.zeros((1, 500), np.float64)
    frame = FrameIdentity("s", 1, 1, (500, 500))
    assert status_of(parts_of(rows(0, 1, frame=frame), {"image": line})) is Status.TOO_LARGE
    tall = FrameIdentity("s", 1, 1, (LIMITS.max_side + 1, 8))
    assert status_of(parts_of(rows(0, 1, frame=tall), {"image": line[:, :8]})) is Status.TOO_LARGE


def test_a_server_judges_the_rows_so_far_and_asks_for_those_it_lacks() -> None:
    seen: list[Any] = []

    class Witness(FramePipeline):
        def process(self, image: Any, given: Any, frame: FrameIdentity) -> Any:
            seen.append((image.copy(), frame))
            return super().process(image, given, frame)

    analyzer = KnownAnswers()
    with serving(analyzer, pipeline=lambda: Witness(analyzer)) as server, peer(server.port) as client:
        client.ask(rows(5, 9), {"image": WHOLE[5:9]})
        reply, _ = client.reply()
        assert (reply.id, reply.status) == (9, Status.ROWS_MISSING)
        for first, last in ((0, 5), (5, 9), (9, 40)):
            client.ask(rows(first, last), {"image": WHOLE[first:last]})
            reply, _ = client.reply()
            assert (reply.id, reply.status) == (last, Status.OK)
            assert reply.body.frame.valid_rows == last  # type: ignore[union-attr]
        assert server.telemetry.counters()["refused_rows_missing"] == 1
    for (image, frame), last in zip(seen, (5, 9, 40), strict=True):
        np.testing.assert_array_equal(image, WHOLE[:last])
        assert frame.valid_rows == last


def test_rows_of_a_request_that_was_replaced_are_not_lost() -> None:
    analyzer = Held()
    with serving(analyzer) as server, peer(server.port) as client:
        client.ask(rows(0, 5), {"image": WHOLE[:5]})
        wait_for(lambda: len(analyzer.seen) == 1)
        client.ask(rows(5, 9), {"image": WHOLE[5:9]})
        client.ask(rows(9, 12), {"image": WHOLE[9:12]})
        received(server, 3)
        analyzer.go.set()
        ended = {reply.id: reply.status for reply, _ in (client.reply() for _ in range(3))}
    assert ended == {5: Status.OK, 9: Status.STALE, 12: Status.OK}
    assert [frame.valid_rows for frame in analyzer.seen] == [5, 12]


def test_packed_rows_with_scalings_of_their_own_fit_together() -> None:
    assembly = FrameAssembly()
    for first, last in ((0, 20), (20, 40)):
        sent = protocol.encode(rows(first, last), {"image": WHOLE[first:last]}, packed=("image",))
        request, arrays = protocol.decode_request(sent, LIMITS)
        assert request.arrays[0].scaling is not None
        assert isinstance(request, RowsRequest)
        taken = assembly.take(request, arrays["image"])
    assert np.abs(taken - WHOLE).max() <= 0.51 / 65535
