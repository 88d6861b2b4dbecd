"""The server over real sockets, also with peers that do not keep to the protocol."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from realtime.server import DefectServer
from realtime.server.endpoint import Endpoint
from realtime.wire import protocol
from realtime.wire.messages import (
    Bye,
    Cancel,
    FrameRequest,
    Hello,
    PatchesRequest,
    Reply,
    Status,
    StatusRequest,
)
from stemctx_core.errors import InputError, SecurityError
from stemctx_core.results import FrameIdentity
from tests.realtime.support import (
    PATIENCE_S,
    RAISE,
    Held,
    KnownAnswers,
    context,
    image,
    serving,
    wait_for,
)

SESSION = b"a" * 16


class RawPeer:
    """A DEALER without any manners of its own."""

    def __init__(self, port: int) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, int(1e3 * PATIENCE_S))
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def send(self, parts: list[Any]) -> None:
        self._socket.send_multipart(parts)

    def ask(self, request: Any, arrays: dict[str, Any] | None = None) -> None:
        self.send(protocol.encode(request, arrays))

    def reply(self) -> tuple[Reply, protocol.Arrays]:
        return protocol.decode_reply(self._socket.recv_multipart())

    def is_silent(self, milliseconds: int) -> bool:
        return not self._socket.poll(milliseconds)

    def assert_nothing_but(self, asked: Hello) -> None:
        """Whatever was sent before this hello got no answer: a server answers in the order in which it is asked."""
        self.ask(asked)
        reply, _ = self.reply()
        assert (reply.session, reply.id, reply.status) == (asked.session, asked.id, Status.OK)

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


def received(server: DefectServer, frames: int) -> None:
    """Wait until so many frames have come in."""
    wait_for(lambda: server.telemetry.counters().get("frames_received", 0) == frames)


@contextlib.contextmanager
def peer(port: int) -> Iterator[RawPeer]:
    raw = RawPeer(port)
    try:
        yield raw
    finally:
        raw.close()


def frame(number: int, session: bytes = SESSION, **changes: Any) -> FrameRequest:
    return FrameRequest(
        session=session, id=number, context=context(), frame=FrameIdentity("s", number), **changes
    )


def test_hello_tells_who_serves() -> None:
    with serving() as server, peer(server.port) as client:
        client.ask(Hello(session=SESSION, id=1, t_ns=42))
        reply, _ = client.reply()
    assert (reply.id, reply.t_ns, reply.session) == (1, 42, SESSION)
    assert reply.body is not None
    assert reply.body.model_sha256 == "0" * 64  # type: ignore[union-attr]
    assert reply.body.engine.reason == "nothing to choose from"  # type: ignore[union-attr]


def test_garbage_is_answered_only_where_it_bears_our_magic_and_the_server_goes_on() -> None:
    with serving() as server, peer(server.port) as client:
        for stranger in ([b""], [b"\x80\x04K\x01."], [b"x"] * 1000, [b"HTTP", b"GET /"]):
            client.send(stranger)
        client.assert_nothing_but(Hello(session=SESSION, id=8))
        client.send([b"STX1\1\0", b"\xc1"])
        assert client.reply()[0].status is Status.BAD_REQUEST
        client.send([b"STX1\2\0", b"another header"])
        told = client.reply()[0]
        assert told.status is Status.UNSUPPORTED_VERSION
        assert told.error is not None
        assert "Upgrade stemctx" in told.error.message
        client.ask(Hello(session=SESSION, id=9))
        assert client.reply()[0].status is Status.OK


def test_a_request_too_large_is_told_and_one_far_too_large_drops_only_its_sender() -> None:
    limits = protocol.Limits(max_bytes=100_000)
    with serving(limits=limits) as server, peer(server.port) as client:
        client.ask(frame(1), {"image": np.zeros((200, 200), np.float32)})
        reply, _ = client.reply()
        assert (reply.status, reply.id) == (Status.TOO_LARGE, 1)
        client.ask(frame(2), {"image": np.zeros((1000, 1000), np.float32)})
        with peer(server.port) as other:
            other.ask(frame(3), {"image": image()})
            assert other.reply()[0].status is Status.OK
        assert client.is_silent(200)


def test_the_sum_of_many_parts_is_bounded_too() -> None:
    limits = protocol.Limits(max_bytes=100_000)
    with serving(limits=limits) as server, peer(server.port) as client:
        good = protocol.encode(frame(1), {"image": image()})
        client.send([*good, *[bytes(90_000)] * 40])
        assert client.reply()[0].status is Status.BAD_REQUEST
        client.ask(frame(2), {"image": image()})
        assert client.reply()[0].status is Status.OK


def test_the_newest_frame_of_a_client_wins_and_the_others_are_told() -> None:
    analyzer = Held()
    with serving(analyzer) as server, peer(server.port) as client:
        client.ask(frame(1), {"image": image()})
        wait_for(lambda: len(analyzer.seen) == 1)
        for number in (2, 3, 4):
            client.ask(frame(number), {"image": image()})
        received(server, 4)
        analyzer.go.set()
        ended = {r.id: r.status for r, _ in (client.reply() for _ in range(4))}
    assert ended == {1: Status.OK, 2: Status.STALE, 3: Status.STALE, 4: Status.OK}
    assert [seen.frame_index for seen in analyzer.seen] == [1, 4]


def test_a_frame_that_waited_beyond_its_deadline_is_skipped() -> None:
    analyzer = Held()
    with serving(analyzer) as server, peer(server.port) as one, peer(server.port) as two:
        one.ask(frame(1), {"image": image()})
        wait_for(lambda: len(analyzer.seen) == 1)
        two.ask(frame(2, b"b" * 16, deadline_ms=50.0), {"image": image()})
        received(server, 2)
        time.sleep(0.06)
        analyzer.go.set()
        assert two.reply()[0].status is Status.STALE
    assert len(analyzer.seen) == 1


def test_clients_take_turns() -> None:
    analyzer = Held()
    with serving(analyzer) as server, peer(server.port) as flood, peer(server.port) as modest:
        for number in range(1, 200):
            flood.ask(frame(number), {"image": image()})
        modest.ask(frame(1000, b"b" * 16), {"image": image(sites=3)})
        received(server, 200)
        analyzer.go.set()
        reply, arrays = modest.reply()
    assert (reply.id, len(arrays["y_px"])) == (1000, 3)
    # After the frame that was at work when it came, and at most one that waited before it.
    assert [seen.frame_index for seen in analyzer.seen].index(1000) <= 2


def test_a_model_that_fails_is_told_and_the_next_frame_is_judged() -> None:
    with serving() as server, peer(server.port) as client:
        client.ask(frame(1), {"image": image(first=RAISE)})
        told = client.reply()[0]
        assert told.status is Status.MODEL_ERROR
        assert told.error is not None
        assert "ArithmeticError: asked to" in told.error.message
        client.ask(frame(2), {"image": image()})
        assert client.reply()[0].status is Status.OK


def test_cancel_takes_a_waiting_frame_back_and_silences_a_running_one() -> None:
    analyzer = Held()
    with serving(analyzer) as server, peer(server.port) as client:
        client.ask(frame(1), {"image": image()})
        wait_for(lambda: len(analyzer.seen) == 1)
        client.ask(frame(2), {"image": image()})
        client.ask(Cancel(session=SESSION, id=3, target=2))
        reply, _ = client.reply()
        assert (reply.id, reply.status) == (2, Status.STALE)
        client.ask(Cancel(session=SESSION, id=4, target=1))
        client.assert_nothing_but(Hello(session=SESSION, id=5))
        analyzer.go.set()
        client.ask(frame(6), {"image": image()})
        assert client.reply()[0].id == 6
    assert [seen.frame_index for seen in analyzer.seen] == [1, 6]


def test_patches_are_answered_unsupported_by_an_analyzer_without_them() -> None:
    arrays = {
        "patches": np.zeros((2, 32, 32), np.float32),
        "y_px": np.zeros(2, np.float32),
        "x_px": np.zeros(2, np.float32),
        "sublattice": np.zeros(2, np.uint8),
    }
    with serving() as server, peer(server.port) as client:
        client.ask(PatchesRequest(session=SESSION, id=1, context=context(), frame=FrameIdentity()), arrays)
        assert client.reply()[0].status is Status.UNSUPPORTED


def test_patches_reach_an_analyzer_that_takes_them() -> None:
    class WithPatches(KnownAnswers):
        def analyze_patches(self, patches: Any, given: Any, frame_: Any) -> Any:
            return self.analyze(image(sites=len(patches.patches)), given, frame_)

    arrays = {
        "patches": np.zeros((2, 32, 32), np.float32),
        "y_px": np.zeros(2, np.float32),
        "x_px": np.zeros(2, np.float32),
        "sublattice": np.zeros(2, np.uint8),
    }
    with serving(WithPatches()) as server, peer(server.port) as client:
        client.ask(PatchesRequest(session=SESSION, id=1, context=context(), frame=FrameIdentity()), arrays)
        reply, got = client.reply()
    assert reply.status is Status.OK
    assert len(got["y_px"]) == 2


def test_status_counts_and_times_what_happened() -> None:
    with serving() as server, peer(server.port) as client:
        client.ask(frame(1), {"image": image()})
        client.reply()
        client.ask(StatusRequest(session=SESSION, id=2, detail=True))
        status: Any = client.reply()[0].body
    assert status.counters["frames_answered"] == 1
    assert status.stages["analyze"].count == 1
    assert status.stages["find"].max_ms == 1.5
    assert status.clients == 1


def test_more_clients_than_allowed_are_told_so_until_one_says_goodbye() -> None:
    with (
        serving(limits=protocol.Limits(max_clients=1)) as server,
        peer(server.port) as one,
        peer(server.port) as two,
    ):
        one.ask(Hello(session=SESSION, id=1))
        one.reply()
        two.ask(Hello(session=b"b" * 16, id=1))
        assert two.reply()[0].status is Status.BUSY
        one.ask(Bye(session=SESSION, id=2))
        wait_for(lambda: server.telemetry.counters()["messages"] == 3)
        two.ask(Hello(session=b"b" * 16, id=2))
        assert two.reply()[0].status is Status.OK


def test_a_server_that_ends_tells_who_waits() -> None:
    analyzer = Held()
    server = DefectServer(analyzer, Endpoint())
    thread = threading.Thread(target=server.serve, name="stemctx-test-server")
    thread.start()
    with peer(server.port) as client:
        client.ask(frame(1), {"image": image()})
        wait_for(lambda: len(analyzer.seen) == 1)
        client.ask(frame(2), {"image": image()})
        received(server, 2)
        server.stop()
        analyzer.go.set()
        ended = {r.id: r.status for r, _ in (client.reply() for _ in range(2))}
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert ended == {1: Status.OK, 2: Status.SHUTTING_DOWN}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "*", "example.org", ""])
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(SecurityError, match="CURVE keys"):
        Endpoint(host)


def test_a_port_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="65535"):
        Endpoint(port=70000)
