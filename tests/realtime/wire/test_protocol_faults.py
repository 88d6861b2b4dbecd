"""Faults 15 to 22: what a peer may send to a real server, none of which it may decode, allocate or run."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from realtime.server import DefectServer
from realtime.wire import protocol
from realtime.wire.codec import PREAMBLE
from realtime.wire.limits import MAX_HEADER_BYTES
from realtime.wire.messages import FrameRequest, Hello, Status
from stemctx_core.results import FrameIdentity
from tests.realtime.server.test_server import RawPeer, peer
from tests.realtime.support import KnownAnswers, context, image, serving
from tests.realtime.wire.test_codec import FRAME, LIMITS, MALFORMED, changed

SESSION = b"g" * 16
REFUSED = {Status.BAD_REQUEST, Status.TOO_LARGE}


@pytest.fixture(scope="module")
def server() -> Iterator[DefectServer]:
    """One server for all of this page: it has to survive every fault after the other."""
    with serving(KnownAnswers(), limits=protocol.Limits(max_bytes=1_000_000, requests_per_s=1e6)) as running:
        yield running


def answer(client: RawPeer, parts: list[bytes]) -> Status:
    client.send(parts)
    reply, _ = client.reply()
    assert reply.error is not None
    return reply.status


def assert_alive(server: DefectServer) -> None:
    with peer(server.port) as honest:
        request = FrameRequest(session=SESSION, id=1, context=context(), frame=FrameIdentity())
        honest.ask(request, {"image": image(sites=4)})
        reply, arrays = honest.reply()
    assert (reply.status, len(arrays["y_px"])) == (Status.OK, 4)
    assert "faults" not in server.telemetry.counters()


def assert_all_refused(server: DefectServer, *names: str) -> None:
    before = server.telemetry.counters().get("frames_received", 0)
    with peer(server.port) as client:
        for name in names:
            assert answer(client, MALFORMED[name]) in REFUSED, name
    assert server.telemetry.counters().get("frames_received", 0) == before
    assert_alive(server)


def test_fault_15_random_bytes_empty_one_part_and_a_thousand_parts(server: DefectServer) -> None:
    rng = np.random.default_rng(15)
    with peer(server.port) as client:
        client.send([b""])
        client.send([b"\0" * 6])
        client.send([b""] * 1000)
        for _ in range(200):
            client.send([rng.bytes(int(n)) for n in rng.integers(0, 300, int(rng.integers(1, 12)))])
        client.assert_nothing_but(Hello(session=SESSION, id=1))  # a stranger gets no answer
        for _ in range(200):
            client.send([PREAMBLE, *(rng.bytes(int(n)) for n in rng.integers(0, 300, int(rng.integers(0, 9))))])
            assert client.reply()[0].status in REFUSED
    assert_all_refused(
        server, "a thousand parts", "only the preamble", "empty header", "random header", "array too many"
    )


def test_fault_16_shapes_that_cannot_be_are_refused_before_memory_is_taken(server: DefectServer) -> None:
    names = ("negative side", "zero side", "2^40 pixels", "side beyond 64 bits", "overflow", "rank 1", "rank 9")
    tracemalloc.start()
    try:
        assert_all_refused(server, *names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_fault_17_a_payload_shorter_or_longer_than_declared(server: DefectServer) -> None:
    assert_all_refused(server, "payload too short", "payload too long", "nbytes differ", "array missing")


def test_fault_18_types_that_are_not_on_the_list(server: DefectServer) -> None:
    names = [name for name in MALFORMED if name.startswith("type ")]
    assert {"type O", "type <c8", "type >f4", "type <f4,<f4"} <= set(names)
    assert_all_refused(server, *names)


def test_fault_19_headers_that_unfold_stay_small(server: DefectServer) -> None:
    many = msgspec.msgpack.encode({f"{n}": None for n in range(30_000)})
    long = msgspec.msgpack.encode({**msgspec.msgpack.decode(FRAME[1]), "arrays": [0] * 200_000})
    assert max(len(many), len(long)) < MAX_HEADER_BYTES
    tracemalloc.start()
    try:
        with peer(server.port) as client:
            for header in (many, long, b"\x80" * (MAX_HEADER_BYTES + 1)):
                assert answer(client, [PREAMBLE, header]) in REFUSED
        assert_all_refused(server, "nested header", "huge map", "truncated header")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000


def test_fault_20_unknown_and_missing_fields(server: DefectServer) -> None:
    assert_all_refused(
        server, "unknown operation", "unknown field", "missing field", "short session", "another name"
    )


def test_fault_21_another_major_version_is_blocked_and_another_minor_is_not(server: DefectServer) -> None:
    with peer(server.port) as client:
        for major in (0, 2, 65535):
            client.send([b"STX1" + major.to_bytes(2, "little"), b"whatever that version sends"])
            reply, _ = client.reply()
            assert reply.status is Status.UNSUPPORTED_VERSION
            assert reply.error is not None
            assert "Upgrade stemctx on" in reply.error.message
        client.ask(Hello(session=SESSION, id=1, minor=65535))
        assert client.reply()[0].status is Status.OK


class _Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> object:
        return Path.touch, (self._path,)


def test_fault_22_pickles_are_never_decoded(server: DefectServer, tmp_path: Path) -> None:
    import pickle

    trace = tmp_path / "was-run"
    pickled = pickle.dumps(_Runs(trace))
    pickle.loads(pickled)
    assert trace.exists(), "the pickle does what it is made for"
    trace.unlink()
    with peer(server.port) as client:
        client.send([pickled])
        client.send([pickled, pickled])
        client.assert_nothing_but(Hello(session=SESSION, id=1))
        for parts in ([PREAMBLE, pickled], [*FRAME[:2], pickled], changed(FRAME, context=pickled)):
            assert answer(client, parts) in REFUSED
    assert_alive(server)
    assert not trace.exists()


def test_the_malformed_messages_are_those_of_a_server_with_these_limits() -> None:
    assert LIMITS.max_bytes == 1_000_000
