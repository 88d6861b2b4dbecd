"""The client: what it promises the scan, the panel and a script, with real servers that misbehave."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from realtime.client import ClientState, DefectClient
from realtime.client.states import AgeLimits
from realtime.wire import protocol
from realtime.wire.messages import (
    FrameRequest,
    Hello,
    ProcessStatus,
    Reply,
    ServerHello,
    ServerStatus,
    StatusRequest,
)
from stemctx_core.errors import InputError, ProtocolError, SecurityError, ServerUnavailable
from stemctx_core.results import EngineInfo, FrameIdentity
from tests.realtime.support import (
    PATIENCE_S,
    RAISE,
    KnownAnswers,
    context,
    image,
    reserved_port,
    result,
    serving,
    wait_for,
)


def address(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


@contextlib.contextmanager
def odd_server(answer: Callable[[Any, Any], list[list[Any]]], port: int = 0) -> Iterator[int]:
    """A ROUTER that answers frames with whatever messages `answer(request, previous)` gives."""
    context_: zmq.Context[Any] = zmq.Context()
    router = context_.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    router.bind(f"tcp://127.0.0.1:{port or '*'}")
    bound = int(router.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rsplit(":", 1)[1])
    stop = threading.Event()

    def run() -> None:
        previous = None
        while not stop.is_set():
            if not router.poll(20):
                continue
            peer, *parts = router.recv_multipart()
            request, _ = protocol.decode_request(parts, protocol.Limits())
            echo = {"session": request.session, "id": request.id, "t_ns": request.t_ns}
            engine = EngineInfo("odd", "")
            if isinstance(request, Hello):
                body: Any = ServerHello(
                    version="1", model="odd", model_sha256="", engine=engine, limits=protocol.Limits()
                )
                messages = [protocol.encode(Reply(**echo, body=body))]
            elif isinstance(request, StatusRequest):
                body = ServerStatus(
                    uptime_s=0, model="odd", model_sha256="", engine=engine, clients=1, queue_depth=0, under_way=0,
                    process=ProcessStatus(0, 0, 0, 0.0), counters={},
                )  # fmt: skip
                messages = [protocol.encode(Reply(**echo, body=body))]
            elif isinstance(request, FrameRequest):
                messages = answer(request, previous)
                previous = request
            else:
                messages = []
            for message in messages:
                router.send_multipart([peer, *message])

    thread = threading.Thread(target=run, name="stemctx-odd-server")
    thread.start()
    try:
        yield bound
    finally:
        stop.set()
        thread.join()
        router.close(0)
        context_.term()


def test_a_frame_is_judged_and_named() -> None:
    with serving() as server, DefectClient(address(server.port)) as client:
        frame = FrameIdentity("scan", 5, 64, (64, 64))
        got = client.analyze(image(sites=7), context(), frame, timeout_s=PATIENCE_S)
        assert len(got.sites) == 7
        assert got.frame == frame
        assert got.context == context()
        assert client.state is ClientState.LIVE
        assert client.server is not None
        assert client.server.model == "known answers 000000000000"
    assert client.state is ClientState.OFF


def test_only_the_valid_rows_are_sent() -> None:
    with serving() as server, DefectClient(address(server.port)) as client:
        frame = image(sites=0)
        frame[29, -1] = 4  # the last valid row asks for four sites, the old rows below for none
        got = client.analyze(frame, context(), FrameIdentity("scan", 5, 30, (64, 64)), timeout_s=PATIENCE_S)
        assert len(got.sites) == 4
        assert got.frame == FrameIdentity("scan", 5, 30, (64, 64))


def test_without_a_server_a_waiting_caller_is_told_how_to_start_one() -> None:
    with (
        reserved_port() as port,
        DefectClient(address(port)) as client,
        pytest.raises(ServerUnavailable, match=f"stemctx serve --port {port}"),
    ):
        client.analyze(image(), context(), timeout_s=0.3)
    assert client.counters.errors == 1


def test_a_damaged_reply_is_counted_and_the_frame_times_out() -> None:
    def answer(request: Any, _: Any) -> list[list[Any]]:
        whole = protocol.encode_result(request, result(5))
        return [whole[:3], [b"STX1\1\0", b"\xc1"], [b"?"]]

    with odd_server(answer) as port, DefectClient(address(port)) as client:
        wait_for(lambda: client.state is ClientState.LIVE)
        with pytest.raises(ServerUnavailable):
            client.analyze(image(), context(), timeout_s=2.0)
        wait_for(lambda: client.counters.malformed == 3)


def test_a_server_of_another_version_is_refused_with_the_way_out() -> None:
    context_: zmq.Context[Any] = zmq.Context()
    router = context_.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    port = int(router.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rsplit(":", 1)[1])
    try:
        with DefectClient(address(port)) as client:
            peer, *_ = router.recv_multipart()
            router.send_multipart([peer, b"STX1\x02\x00", b"a header of another version"])
            wait_for(lambda: client.state is ClientState.REFUSED)
            assert "Upgrade stemctx" in client.reason
    finally:
        router.close(0)
        context_.term()


def test_a_server_that_does_not_answer_in_time_goes_stale_and_recovers() -> None:
    silent = threading.Event()
    silent.set()

    def answer(request: Any, _: Any) -> list[list[Any]]:
        return [] if silent.is_set() else [protocol.encode_result(request, result(5, frame=request.frame))]

    states: list[ClientState] = []
    reasons: list[str] = []

    def became(state: ClientState, reason: str) -> None:
        reasons.append(reason)
        states.append(state)

    with (
        odd_server(answer) as port,
        DefectClient(address(port), timeout_s=0.3, on_state=became) as client,
    ):
        client.submit(image(), context(), FrameIdentity("scan", 1))
        wait_for(lambda: ClientState.STALE in states)
        silent.clear()
        wait_for(lambda: states[-1] is ClientState.LIVE)
        assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5
    assert states == [ClientState.LIVE, ClientState.STALE, ClientState.LIVE, ClientState.OFF]
    assert "no answer" in reasons[1]
    assert client.counters.errors == 1


def test_the_server_goes_and_comes_back() -> None:
    states: list[ClientState] = []
    with (
        reserved_port() as port,
        DefectClient(address(port), on_state=lambda s, _: states.append(s)) as client,
    ):
        with serving(port=port):
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
        wait_for(lambda: client.state is ClientState.STALE)
        with serving(KnownAnswers(model_sha256="1" * 64), port=port):
            wait_for(lambda: client.state is ClientState.LIVE)
            assert client.server is not None
            assert client.server.model_sha256 == "1" * 64
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
    assert states[:3] == [ClientState.LIVE, ClientState.STALE, ClientState.LIVE]


def test_an_old_frame_is_not_sent_when_the_server_comes_back() -> None:
    analyzer = KnownAnswers()
    told: list[str] = []
    with (
        reserved_port() as port,
        DefectClient(
            address(port),
            age_limits=AgeLimits(wait_s=0.3),
            on_error=lambda f, why: told.append(f"{f.scan_id}: {why}"),
        ) as client,
    ):
        client.submit(image(), context(), FrameIdentity("old"))
        time.sleep(0.4)
        with serving(analyzer, port=port):
            wait_for(lambda: client.counters.dropped == 1)
        assert client.counters.errors == 0
    assert analyzer.seen == []
    assert told == ["old: The frame was too old when its turn came."]


def test_a_frame_that_the_server_refuses_is_told_and_the_client_stays_live() -> None:
    told: list[str] = []
    with (
        serving() as server,
        DefectClient(address(server.port), on_error=lambda _, why: told.append(why)) as client,
    ):
        with pytest.raises(ProtocolError, match="asked to"):
            client.analyze(image(first=RAISE), context(), timeout_s=PATIENCE_S)
        client.submit(image(first=RAISE), context(), FrameIdentity("scan", 1))
        wait_for(lambda: len(told) == 1)
        assert client.state is ClientState.LIVE
        assert client.last_error == told[0]


def test_a_frame_too_large_for_the_server_is_not_sent() -> None:
    limits = protocol.Limits(max_bytes=10_000)
    with serving(limits=limits) as server, DefectClient(address(server.port)) as client:
        with pytest.raises(ProtocolError, match="Scan a smaller frame"):
            client.analyze(image(shape=(100, 100)), context())
        assert len(client.analyze(image(shape=(20, 20)), context()).sites) == 5


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2)), np.zeros((0, 5)), np.zeros((4, 4), complex)], ids=str)
def test_what_is_no_image_is_refused_without_harm(bad: Any) -> None:
    with serving() as server, DefectClient(address(server.port)) as client:
        with pytest.raises(ProtocolError):
            client.analyze(bad, context(), timeout_s=PATIENCE_S)
        assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5


def test_a_listener_that_fails_does_not_end_the_client() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the window")

    with serving() as server, DefectClient(address(server.port), on_result=fail, on_state=fail) as client:
        for number in (1, 2):
            client.submit(image(), context(), FrameIdentity("scan", number))
            wait_for(lambda: client.counters.answered == number)  # noqa: B023


def test_while_a_listener_takes_its_time_the_server_is_not_lost() -> None:
    states: list[ClientState] = []
    with (
        serving() as server,
        DefectClient(
            address(server.port), on_result=lambda *_: time.sleep(3.2), on_state=lambda s, _: states.append(s)
        ) as client,
    ):
        client.submit(image(), context(), FrameIdentity("scan", 1))
        wait_for(lambda: client.counters.answered == 1)
        assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5
    assert states == [ClientState.LIVE, ClientState.OFF]


def test_closing_from_a_callback_and_twice_is_safe() -> None:
    with serving() as server:
        client = DefectClient(address(server.port), on_result=lambda *_: client.close())
        client.submit(image(), context(), FrameIdentity("scan", 1))
        wait_for(lambda: client.state is ClientState.OFF)
        client.close()
        client.close()
        with pytest.raises(ServerUnavailable, match="closed"):
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
        client.submit(image(), context(), FrameIdentity("scan", 2))
        assert client.counters.submitted == 1


def test_closing_wakes_a_caller_who_waits() -> None:
    told: list[Exception] = []

    def wait() -> None:
        try:
            client.analyze(image(), context(), timeout_s=300)
        except ServerUnavailable as error:
            told.append(error)

    with reserved_port() as port:
        client = DefectClient(address(port))
        thread = threading.Thread(target=wait)
        thread.start()
        wait_for(lambda: client.counters.submitted == 1)
        client.close()
        thread.join(PATIENCE_S)
    assert ["closed" in str(error) for error in told] == [True]


def test_latency_starts_where_the_last_row_arrived() -> None:
    latencies: list[float] = []
    with (
        serving() as server,
        DefectClient(address(server.port), on_result=lambda _, ms: latencies.append(ms)) as client,
    ):
        client.submit(image(), context(), FrameIdentity(), since_ns=time.monotonic_ns() - 2_000_000_000)
        wait_for(lambda: len(latencies) == 1)
    assert 2000 < latencies[0] < 1e3 * PATIENCE_S


def test_status_is_told_through_the_client() -> None:
    with serving() as server, DefectClient(address(server.port)) as client:
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
        assert client.status(PATIENCE_S).counters["frames_answered"] == 1
    with (
        reserved_port() as port,
        DefectClient(address(port)) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.status(0.2)


@pytest.mark.parametrize(
    "wrong", ["", "tcp://127.0.0.1", "ipc:///tmp/x", "tcp://127.0.0.1:99999", "tcp://a b:1"]
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:47100"):
        DefectClient(wrong)


def test_a_server_on_another_machine_is_refused_without_keys() -> None:
    with pytest.raises(SecurityError, match="CURVE keys"):
        DefectClient("tcp://192.168.1.7:47100")
