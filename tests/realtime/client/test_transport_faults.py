"""Faults 1 to 14: servers and clients that are absent, slow, hung or killed, and networks that break off.

Fault 8, a slow window, is in `tests/plugin/service/test_live_flags.py`.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from realtime.client import ClientState, DefectClient
from realtime.client.mailbox import Ticket
from realtime.client.poison import Suspects
from realtime.client.states import AgeLimits, ClientCounters
from realtime.client.supervisor import LocalServer, ServerState
from realtime.server.endpoint import Endpoint
from realtime.wire import protocol
from realtime.wire.messages import FrameRequest, StatusRequest
from stemctx_core.errors import PortInUse, ServerUnavailable
from stemctx_core.results import FrameIdentity, FrameResult
from tests.realtime.client.test_client import address, odd_server
from tests.realtime.proxy import Proxy
from tests.realtime.server.test_server import SESSION, frame, peer, received
from tests.realtime.support import (
    DIE,
    PATIENCE_S,
    SLEEP,
    Held,
    KnownAnswers,
    context,
    image,
    reserved_port,
    result,
    serving,
    wait_for,
)

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tests.realtime.support"]
posix = pytest.mark.skipif(os.name != "posix", reason="SIGSTOP and SIGKILL are POSIX")


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def ended(counters: ClientCounters) -> int:
    return counters.answered + counters.replaced + counters.dropped + counters.errors


def test_fault_01_without_a_server_the_scan_is_not_held_up_and_one_that_comes_is_found() -> None:
    with reserved_port() as port, DefectClient(address(port)) as client:
        big = np.zeros((2048, 2048), np.float32)
        started = time.process_time()
        for number in range(100):
            client.submit(big, context(), FrameIdentity("scan", number))
        assert (time.process_time() - started) / 100 < 0.005
        assert client.state is ClientState.CONNECTING
        assert client.counters.replaced == 99
        with serving(port=port):
            wait_for(lambda: client.state is ClientState.LIVE)
            wait_for(lambda: ended(client.counters) == 100)


@posix
def test_fault_02_a_killed_server_is_stale_then_started_again_on_its_port_then_live() -> None:
    shown: list[FrameIdentity] = []
    became: list[tuple[ClientState, str]] = []
    with LocalServer(command=COMMAND) as server:
        with DefectClient(
            server.address,
            on_result=lambda r, _: shown.append(r.frame),
            on_state=lambda state, why: became.append((state, why)),
        ) as client:
            before = server.address, server.pid
            assert len(client.analyze(image(sites=4), context(), timeout_s=PATIENCE_S).sites) == 4
            client.submit(image(first=SLEEP), context(), FrameIdentity("lost", 1))
            wait_for(lambda: client.status(PATIENCE_S).under_way == 1)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda: [state for state, _ in became][1:] == [ClientState.STALE, ClientState.LIVE])
            # Its end is told by the connection, at once, not by three seconds of silence.
            assert "the connection was lost" in became[1][1]
            assert server.address == before[0]
            assert server.pid != before[1]
            assert server.restarts == 1
            client.submit(image(), context(), FrameIdentity("new", 2))
            wait_for(lambda: len(shown) == 1)
        assert shown[0].scan_id == "new"
        assert client.counters.errors == 1
    assert server.state is ServerState.OFF


@posix
def test_a_caller_who_waits_gets_the_answer_of_the_server_that_comes_after() -> None:
    with LocalServer(command=[*COMMAND, "--nice", "0"]) as server, DefectClient(server.address) as client:
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that the frame is certainly under way when it is killed
        killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        assert len(client.analyze(image(sites=9), context(), timeout_s=PATIENCE_S).sites) == 9
        killer.join()
        assert (client.counters.answered, client.counters.errors) == (2, 0)


def test_a_frame_that_ends_the_server_twice_is_not_sent_again() -> None:
    with LocalServer(command=COMMAND) as server, DefectClient(server.address) as client:
        with pytest.raises(ServerUnavailable, match="lost twice with this frame"):
            client.analyze(image(first=DIE), context(), timeout_s=4 * PATIENCE_S)
        assert len(client.analyze(image(), context(), timeout_s=4 * PATIENCE_S).sites) == 5
        with pytest.raises(ServerUnavailable, match="lost twice with this frame"):
            client.analyze(
                image(first=DIE), context(), FrameIdentity("another name", 7), timeout_s=4 * PATIENCE_S
            )
        assert server.restarts == 2
        wait_for(lambda: server.state is ServerState.RUNNING)


def test_a_frame_is_known_again_by_its_pixels_or_by_its_name() -> None:
    def ticket(pixels: float, name: tuple[str, int], host: str = "WSe2") -> Ticket:
        return Ticket(np.full((4, 4), pixels), context(host), FrameIdentity(*name), timeout_s=1.0)

    suspects = Suspects()
    assert not suspects.is_poison(ticket(1.0, ("a", 1)))
    assert not suspects.lost(ticket(1.0, ("a", 1)))
    assert not suspects.is_poison(ticket(1.0, ("a", 1)))
    assert suspects.lost(ticket(2.0, ("a", 1)))  # more rows of it
    assert suspects.is_poison(ticket(3.0, ("a", 1)))
    assert not suspects.lost(ticket(5.0, ("", 0)))
    assert suspects.lost(ticket(5.0, ("", 0)))
    assert suspects.is_poison(ticket(5.0, ("b", 9)))
    assert not suspects.is_poison(ticket(5.0, ("b", 9), "MoS2"))
    assert not suspects.is_poison(ticket(6.0, ("", 0)))


def test_a_server_that_keeps_dying_is_given_up_with_a_visible_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.client.supervisor._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("realtime.client.supervisor._CRASH_WINDOW_S", 1000.0)
    with LocalServer(command=COMMAND) as server, DefectClient(server.address) as client:
        end = time.monotonic() + 5 * PATIENCE_S
        number = 0
        while server.state is not ServerState.FAILED:
            assert time.monotonic() < end
            number += 1
            client.submit(image(number, first=DIE), context(), FrameIdentity("poison", number))
            time.sleep(0.05)
        assert server.restarts == 4
        assert "crashed 5 times" in server.reason


def test_fault_03_a_reply_that_breaks_off_is_no_result_and_the_next_frame_gets_one() -> None:
    shown: list[FrameResult] = []
    with (
        serving() as server,
        Proxy(server.port) as network,
        DefectClient(address(network.port), on_result=lambda r, _: shown.append(r)) as client,
    ):
        wait_for(lambda: client.state is ClientState.LIVE)
        network.break_after(2000)  # a part of a result of a thousand sites
        client.submit(image(sites=1000), context(), FrameIdentity("scan", 1))
        wait_for(lambda: client.counters.errors == 1)
        wait_for(lambda: client.state is ClientState.LIVE)
        client.submit(image(sites=7), context(), FrameIdentity("scan", 2))
        wait_for(lambda: len(shown) == 1)
        assert ended(client.counters) == client.counters.submitted == 2
    assert [(r.frame.frame_index, len(r.sites)) for r in shown] == [(2, 7)]


@posix
def test_fault_04_a_hung_server_gets_no_frames_until_it_is_back() -> None:
    with LocalServer(command=COMMAND) as server, DefectClient(server.address, timeout_s=1.0) as client:
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for number in range(40):
                client.submit(image(), context(), FrameIdentity("scan", number))
                time.sleep(0.05)
            wait_for(lambda: client.state is ClientState.STALE)
            assert (
                client.counters.errors == 1
            )  # one was tried and timed out, the others only replaced each other
        finally:
            os.kill(server.pid, signal.SIGCONT)
        wait_for(lambda: client.state is ClientState.LIVE)
        client.analyze(image(), context(), timeout_s=PATIENCE_S)


@posix
def test_fault_04_a_server_that_stays_hung_is_ended_and_started_again() -> None:
    said: list[str] = []
    server = LocalServer(command=COMMAND, silence_s=4.0, on_state=lambda s, why: said.append(f"{s}: {why}"))
    with server, DefectClient(server.address) as client:
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: server.pid != pid and client.state is ClientState.LIVE)
        assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5
    assert "restarting: it hung: not a word for 4 s" in said


def test_fault_04_a_frame_without_end_silences_the_server() -> None:
    command = [*COMMAND, "--frame-limit-s", "0.5"]
    with LocalServer(command=command, silence_s=4.0) as server, DefectClient(server.address) as client:
        client.submit(image(first=SLEEP), context(), FrameIdentity("endless"))
        wait_for(lambda: server.restarts == 1 and server.state is ServerState.RUNNING)
        assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5


@posix
def test_fault_05_another_model_after_a_restart_is_said_and_its_results_bear_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    became: list[ClientState] = []
    with (
        LocalServer(command=COMMAND) as server,
        DefectClient(server.address, on_state=lambda state, _: became.append(state)) as client,
    ):
        first = client.analyze(image(), context(), timeout_s=PATIENCE_S)
        assert first.model == "known answers 000000000000"
        monkeypatch.setenv("STEMCTX_TEST_SHA", "1" * 64)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: became[1:] == [ClientState.STALE, ClientState.LIVE])
        assert client.reason == "known answers 111111111111 on a test; known answers 000000000000 before"
        assert client.server is not None
        assert client.server.model_sha256 == "1" * 64
        assert client.analyze(image(), context(), timeout_s=PATIENCE_S).model == "known answers 111111111111"


@posix
def test_fault_06_a_client_that_is_killed_with_work_under_way_and_waiting_is_freed() -> None:
    analyzer = Held()
    sender = (
        "import sys, time; from tests.realtime.server.test_server import RawPeer, frame; from tests.realtime.support import image\n"
        "peer = RawPeer(int(sys.argv[1]))\n"
        "for number in (1, 2): peer.ask(frame(number, b'b' * 16), {'image': image()})\n"
        "time.sleep(600)"
    )
    with serving(analyzer, idle_s=1.0) as server, peer(server.port) as observer:
        numbers = iter(range(1, 100_000))

        def status() -> Any:
            observer.ask(StatusRequest(session=SESSION, id=next(numbers)))
            return observer.reply()[0].body

        def connections() -> int:
            open_now = psutil.Process().net_connections("tcp")
            return sum(c.laddr.port == server.port and bool(c.raddr) for c in open_now)

        with subprocess.Popen([sys.executable, "-c", sender, str(server.port)], cwd=ROOT) as client:
            wait_for(lambda: status().queue_depth == 1)
            client.kill()
        wait_for(lambda: connections() == 1)  # that of the observer: the server has seen that the other is gone
        analyzer.go.set()
        wait_for(lambda: (status().queue_depth, status().clients) == (0, 1))
        assert status().counters["replies_dropped"] >= 1
    assert len(analyzer.seen) <= 2


class TakesFive(KnownAnswers):
    """Takes as long over a frame as it takes to offer five: slow by the count of frames, on a machine of any speed."""

    def __init__(self) -> None:
        super().__init__()
        self.offered = 0

    def analyze(self, given: Any, about: Any, frame: FrameIdentity | None = None) -> FrameResult:
        judged = super().analyze(given, about, frame)
        wait_for(lambda: self.offered > min(judged.frame.frame_index + 5, 149))
        return judged


def test_fault_07_of_a_slow_server_only_the_newest_frame_is_asked() -> None:
    analyzer = TakesFive()
    got: list[int] = []
    with (
        serving(analyzer) as server,
        DefectClient(
            address(server.port), on_result=lambda r, _: got.append(r.frame.frame_index), timeout_s=PATIENCE_S
        ) as client,
    ):
        wait_for(lambda: client.state is ClientState.LIVE)
        for number in range(150):
            if number == 30:
                before = psutil.Process().memory_info().rss
            client.submit(image(shape=(512, 512)), context(), FrameIdentity("scan", number))
            analyzer.offered = number + 1
            if number % 5 == 0:  # the frame in work is done, and this is the newest
                wait_for(lambda: analyzer.seen[-1:] == [FrameIdentity("scan", number, 512, (512, 512))])  # noqa: B023
        wait_for(lambda: got[-1:] == [149])
        grown = psutil.Process().memory_info().rss - before
        counters = client.counters
    # Each is the newest at the moment in which the one before it was done: an answer is as old as one frame in work.
    assert got == [seen.frame_index for seen in analyzer.seen] == [*range(0, 150, 5), 149]
    assert counters.submitted == ended(counters) == 150
    assert counters.answered == len(got)
    assert (counters.errors, counters.late, counters.dropped) == (0, 0, 0)
    assert grown < 30e6, "the frames that were let go are a hundred times a megabyte"


def test_answers_older_than_the_bound_are_counted_as_stale() -> None:
    latencies: list[float] = []
    with (
        serving(KnownAnswers(sleep_s=0.1)) as server,
        DefectClient(
            address(server.port),
            on_result=lambda _, ms: latencies.append(ms),
            age_limits=AgeLimits(answer_s=0.05),
        ) as client,
    ):
        client.submit(image(), context(), FrameIdentity("scan", 1))
        wait_for(lambda: len(latencies) == 1)
        assert client.is_stale(latencies[0])
        assert client.counters.stale == client.counters.answered == 1


def test_an_answer_beyond_the_bound_is_dropped_and_counted_instead_of_being_shown() -> None:
    analyzer = Held()
    shown: list[tuple[int, float]] = []
    told: list[str] = []
    with (
        serving(analyzer) as server,
        DefectClient(
            address(server.port),
            on_result=lambda r, ms: shown.append((r.frame.frame_index, ms)),
            on_error=lambda _, why: told.append(why),
            age_limits=AgeLimits(discard_s=PATIENCE_S),
            timeout_s=PATIENCE_S,
        ) as client,
    ):
        wait_for(lambda: client.state is ClientState.LIVE)
        client.submit(image(), context(), FrameIdentity("scan", 1), since_ns=ago_ns(PATIENCE_S - 3.0))
        wait_for(lambda: len(analyzer.seen) == 1)
        time.sleep(3.0)
        analyzer.go.set()
        wait_for(lambda: client.counters.dropped == 1)
        client.submit(image(), context(), FrameIdentity("scan", 2), since_ns=ago_ns(PATIENCE_S))
        wait_for(lambda: client.counters.dropped == 2)
        client.submit(image(), context(), FrameIdentity("scan", 3))
        wait_for(lambda: len(shown) == 1)
        assert (client.counters.answered, client.counters.discarded, client.counters.errors) == (1, 1, 0)
    assert [seen.frame_index for seen in analyzer.seen] == [1, 3], "what is too old already is not judged"
    assert "too late to be shown" in told[0]
    assert "too old when its turn came" in told[1]
    assert shown[0][0] == 3
    assert shown[0][1] <= 1e3 * PATIENCE_S


def ago_ns(seconds: float) -> int:
    return time.monotonic_ns() - round(seconds * 1e9)


@pytest.mark.parametrize(
    ("limits", "age_s"),
    [(AgeLimits(wait_s=2.0), 0.0), (AgeLimits(wait_s=PATIENCE_S, discard_s=PATIENCE_S), PATIENCE_S - 2.0)],
    ids=["waited too long", "could not be shown in time"],
)
def test_a_frame_that_waits_too_long_for_other_clients_is_dropped_by_the_server(
    limits: AgeLimits, age_s: float
) -> None:
    analyzer = Held()
    with (
        serving(analyzer) as server,
        peer(server.port) as busy,
        DefectClient(address(server.port), age_limits=limits) as client,
    ):
        wait_for(lambda: client.state is ClientState.LIVE)
        busy.ask(frame(1, b"b" * 16), {"image": image()})
        wait_for(lambda: len(analyzer.seen) == 1)
        client.submit(image(), context(), FrameIdentity("scan", 1), since_ns=ago_ns(age_s))
        received(server, 2)
        time.sleep(2.0)
        analyzer.go.set()
        wait_for(lambda: client.counters.dropped == 1)
        assert (client.counters.errors, client.counters.discarded) == (0, 0)
        assert client.state is ClientState.LIVE
    assert len(analyzer.seen) == 1


def test_fault_09_one_who_does_not_read_its_answers_holds_nobody_up() -> None:
    with serving() as server, peer(server.port) as deaf, DefectClient(address(server.port)) as client:
        for number in range(30):
            deaf.ask(frame(2 * number + 1, b"b" * 16), {"image": image(sites=20_000)})  # megabytes of answer
            assert len(client.analyze(image(sites=3), context(), timeout_s=PATIENCE_S).sites) == 3
        assert client.state is ClientState.LIVE
        assert client.counters.answered == 30


def test_fault_09_a_listener_that_takes_its_time_holds_up_no_other_client() -> None:
    slow: list[float] = []
    release = threading.Event()

    def hold(_: FrameResult, latency_ms: float) -> None:
        slow.append(latency_ms)
        release.wait(PATIENCE_S)

    with serving() as server, DefectClient(address(server.port)) as client:
        with DefectClient(address(server.port), on_result=hold) as second:
            second.submit(image(), context(), FrameIdentity("second"))
            wait_for(lambda: len(slow) == 1)
            for _ in range(20):
                client.analyze(image(), context(), timeout_s=PATIENCE_S)
            assert not release.is_set()
            release.set()
        assert client.counters.answered == 20


def test_fault_10_a_port_in_use_is_named_with_the_way_out() -> None:
    with Endpoint() as first, pytest.raises(PortInUse, match=rf"Port {first.port} .* --port"):
        Endpoint(port=first.port)


def test_fault_10_five_hundred_servers_and_clients_leave_nothing_behind() -> None:
    def cycle() -> None:
        with serving() as server, DefectClient(address(server.port)) as client:
            client.analyze(image(), context(), timeout_s=PATIENCE_S)

    def held() -> tuple[int, int]:
        process = psutil.Process()
        return (process.num_fds() if os.name == "posix" else process.num_handles()), process.num_threads()

    cycle()
    before = held()
    for _ in range(500):
        cycle()
    wait_for(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def test_fault_11_late_repeated_and_foreign_replies_are_counted_and_not_shown() -> None:
    def answer(request: Any, previous: Any) -> list[list[Any]]:
        mine = protocol.encode_result(request, result(5, frame=request.frame))
        foreign = FrameRequest(session=b"z" * 16, id=request.id, context=request.context, frame=request.frame)
        replies = [protocol.encode_result(foreign, result(1)), mine, mine]
        if previous is not None:
            replies.insert(0, protocol.encode_result(previous, result(2, frame=previous.frame)))
        return replies

    shown: list[FrameResult] = []
    with (
        odd_server(answer) as port,
        DefectClient(address(port), on_result=lambda r, _: shown.append(r)) as client,
    ):
        for number in (1, 2):
            client.submit(image(), context(), FrameIdentity("scan", number))
            wait_for(lambda: len(shown) == number)  # noqa: B023
        wait_for(lambda: client.counters.late == 5)
    assert [(r.frame.frame_index, len(r.sites)) for r in shown] == [(1, 5), (2, 5)]


def test_fault_11_an_answer_about_another_frame_or_other_rows_is_not_shown() -> None:
    def answer(request: Any, _: Any) -> list[list[Any]]:
        about = {
            1: dataclasses.replace(result(5), frame=FrameIdentity("another scan", 1, 64, (64, 64))),
            2: dataclasses.replace(result(5), frame=FrameIdentity("scan", 2, 32, (64, 64))),
        }.get(request.frame.frame_index, result(5, frame=request.frame))
        return [protocol.encode_result(request, about)]

    shown: list[int] = []
    with (
        odd_server(answer) as port,
        DefectClient(address(port), on_result=lambda r, _: shown.append(r.frame.frame_index)) as client,
    ):
        for number in (1, 2, 3):
            client.submit(image(), context(), FrameIdentity("scan", number, 64, (64, 64)))
            wait_for(lambda: ended(client.counters) == number)  # noqa: B023
        assert (client.counters.errors, client.counters.answered) == (2, 1)
    assert shown == [3]


@pytest.mark.parametrize(
    "seconds",
    [
        4.0,
        # The cut alone takes a minute.
        pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(180)]),
    ],
)
def test_fault_12_after_a_cut_of_the_network_it_goes_on_with_the_newest_frame(seconds: float) -> None:
    analyzer = KnownAnswers()
    with serving(analyzer) as server, Proxy(server.port) as network:
        with DefectClient(address(network.port), timeout_s=2.0) as client:
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
            number = 0

            def offer(until: float) -> None:
                nonlocal number
                while time.monotonic() < until:
                    number += 1
                    client.submit(image(), context(), FrameIdentity("scan", number))
                    time.sleep(0.05)

            offer(time.monotonic() + 0.5)
            network.cut()
            first_lost = number + 1
            offer(time.monotonic() + seconds)
            while client.state is not ClientState.STALE:
                offer(time.monotonic() + 0.1)
            last_lost = number
            network.mend()
            while client.state is not ClientState.LIVE:
                offer(time.monotonic() + 0.1)
            while analyzer.seen[-1].frame_index <= last_lost:
                offer(time.monotonic() + 0.1)
            wait_for(lambda: ended(client.counters) == client.counters.submitted)
        judged = [seen.frame_index for seen in analyzer.seen]
    held_back = [n for n in judged if first_lost <= n <= last_lost]
    assert len(held_back) <= 2, "one was under way when the network was cut, one waited when it came back"
    assert judged[-1] == number


def test_fault_13_two_clients_with_different_contexts_do_not_mix() -> None:
    with serving() as server:
        wanted = {("WSe2", ("V",)): 11, ("MoS2", ("Cr", "W")): 23}

        def use(host: str, dopants: tuple[str, ...], sites: int) -> None:
            with DefectClient(address(server.port)) as client:
                for number in range(25):
                    sent = FrameIdentity(host, number, 64, (64, 64))
                    got = client.analyze(image(sites), context(host, dopants), sent, timeout_s=PATIENCE_S)
                    assert (got.context.host, len(got.sites), got.frame) == (host, sites, sent)
                    assert got.candidates == context(host, dopants).candidates
            done.append(host)

        done: list[str] = []
        threads = [threading.Thread(target=use, args=(*key, sites)) for key, sites in wanted.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(done) == ["MoS2", "WSe2"]


def test_fault_14_what_is_left_of_a_scan_that_is_over_is_drained() -> None:
    analyzer = Held()
    shown: list[str] = []
    with (
        serving(analyzer) as server,
        DefectClient(address(server.port), on_result=lambda r, _: shown.append(r.frame.scan_id)) as client,
    ):
        client.submit(image(), context(), FrameIdentity("over", 1))
        wait_for(lambda: len(analyzer.seen) == 1)
        client.submit(image(), context(), FrameIdentity("over", 2))
        client.drain("next")
        client.submit(image(), context(), FrameIdentity("next", 1))
        received(server, 2)  # and before it, that the first is not wanted any more
        analyzer.go.set()
        wait_for(lambda: shown == ["next"])
        counters = client.counters
        assert (counters.submitted, counters.answered, counters.dropped) == (3, 1, 2)
        assert counters.late == 0
        assert client.last_error == ""
    assert [(seen.scan_id, seen.frame_index) for seen in analyzer.seen] == [("over", 1), ("next", 1)]


class Rows(KnownAnswers):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Any] = []

    def analyze(self, given: Any, *rest: Any) -> FrameResult:
        self.images.append(np.array(given))
        return super().analyze(image(), *rest)


def test_only_new_rows_of_a_frame_are_sent() -> None:
    whole = np.random.default_rng(0).uniform(0, 1, (512, 512)).astype(np.float32)
    analyzer = Rows()
    with (
        serving(analyzer) as server,
        Proxy(server.port) as network,
        DefectClient(address(network.port)) as client,
    ):
        wait_for(lambda: client.state is ClientState.LIVE)
        for scan in ("first", "second"):
            before = network.sent
            for rows in range(64, 513, 64):
                got = client.analyze(
                    whole[:rows], context(), FrameIdentity(scan, 1, rows, (512, 512)), timeout_s=PATIENCE_S
                )
                assert got.frame.valid_rows == rows
            assert network.sent - before < 1.1 * whole.nbytes
    assert [len(seen) for seen in analyzer.images] == [*range(64, 513, 64)] * 2
    for seen in analyzer.images:
        np.testing.assert_array_equal(seen, whole[: len(seen)])


def test_a_server_that_lacks_the_rows_before_gets_the_frame_again() -> None:
    whole = np.random.default_rng(0).uniform(0, 1, (64, 64)).astype(np.float32)
    with reserved_port() as port, DefectClient(address(port)) as client:
        with serving(port=port):
            client.analyze(whole[:20], context(), FrameIdentity("scan", 1, 20, (64, 64)), timeout_s=PATIENCE_S)
        wait_for(lambda: client.state is ClientState.STALE)
        analyzer = Rows()
        with serving(analyzer, port=port):
            client.analyze(whole[:40], context(), FrameIdentity("scan", 1, 40, (64, 64)), timeout_s=PATIENCE_S)
            with DefectClient(address(port)) as other:  # a frame in between, of another client
                other.analyze(whole, context(), FrameIdentity("scan", 1, 64, (64, 64)), timeout_s=PATIENCE_S)
            client.analyze(whole, context(), FrameIdentity("scan", 1, 64, (64, 64)), timeout_s=PATIENCE_S)
        assert client.counters.errors == 0
    for seen, rows in zip(analyzer.images, (40, 64, 64), strict=True):
        np.testing.assert_array_equal(seen, whole[:rows])


def test_a_client_keeps_no_port_that_it_left() -> None:
    with serving() as server, DefectClient(address(server.port)) as client:
        port = server.port
        client.analyze(image(), context(), timeout_s=PATIENCE_S)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
