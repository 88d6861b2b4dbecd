"""Faults 23 to 29: who may use a server, and what its key files have to be like. Real sockets and processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import zmq.auth
from typer.testing import CliRunner

from realtime.client import ClientState, DefectClient
from realtime.client.link import Link
from realtime.keys import commands as key_commands
from realtime.keys.certificates import ClientKeys, load_client_keys, load_server_keys, read_public, read_secret
from realtime.keys.folder import KeyFolder, KeyKind
from realtime.server import DefectServer
from realtime.server.endpoint import Endpoint
from realtime.server.quota import Quota
from realtime.wire import protocol
from realtime.wire.limits import Limits
from realtime.wire.messages import FrameRequest, Hello, Status, StatusRequest
from stemctx_core.errors import InputError, SecurityError, ServerUnavailable
from stemctx_core.results import FrameIdentity
from tests.realtime.server.test_server import peer
from tests.realtime.support import PATIENCE_S, KnownAnswers, context, image, serving, wait_for

ROOT = Path(__file__).parents[3]
SESSION = b"a" * 16

posix = pytest.mark.skipif(os.name == "nt", reason="permissions of files are not checked on Windows")


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    """A server's keys, and a client 'scope' that it admits."""
    made = KeyFolder(tmp_path / "keys")
    made.make_server()
    made.make_client("scope")
    return made


def client_keys(folder: KeyFolder, name: str = "scope") -> ClientKeys:
    return load_client_keys(folder.path / "own" / f"{name}.key_secret", folder.path / "server.key")


@contextlib.contextmanager
def guarded(folder: KeyFolder, **options: Any) -> Iterator[DefectServer]:
    """A server with keys, in a thread."""
    server = DefectServer(KnownAnswers(), Endpoint(keys=load_server_keys(folder.path), **options))
    thread = threading.Thread(target=server.serve, name="stemctx-test-server")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def address(server: DefectServer) -> str:
    return f"tcp://127.0.0.1:{server.port}"


def assert_refused(server: DefectServer, keys: ClientKeys | None, *words: str) -> None:
    with DefectClient(address(server), keys=keys) as client:
        wait_for(lambda: client.state is ClientState.REFUSED)
        assert any(w in client.reason for w in words), client.reason
        with pytest.raises(ServerUnavailable):
            client.analyze(image(), context(), timeout_s=0.2)
    assert server.telemetry.counters() == {}, "not one message may reach the server"


def test_a_client_with_an_admitted_key_is_served(folder: KeyFolder) -> None:
    with guarded(folder) as server, DefectClient(address(server), keys=client_keys(folder)) as client:
        assert len(client.analyze(image(sites=4), context(), timeout_s=PATIENCE_S).sites) == 4


def test_fault_23_a_strangers_key_is_refused_until_it_is_admitted(folder: KeyFolder, tmp_path: Path) -> None:
    stranger = KeyFolder(tmp_path / "elsewhere")
    secret = stranger.make_client("stranger")
    keys = load_client_keys(secret, folder.path / "server.key")
    with guarded(folder) as server:
        assert_refused(server, keys, "keys admit")
        with DefectClient(address(server), keys=keys) as waiting:
            wait_for(lambda: waiting.state is ClientState.REFUSED)
            folder.admit(secret.with_suffix(".key"))
            wait_for(lambda: waiting.state is ClientState.LIVE)


def test_fault_24_a_server_with_another_key_is_not_talked_to(folder: KeyFolder, tmp_path: Path) -> None:
    other = KeyFolder(tmp_path / "other")
    keys = load_client_keys(folder.path / "own" / "scope.key_secret", other.make_server())
    with guarded(folder) as server:
        assert_refused(server, keys, "--server-key")


def test_fault_25_a_revoked_key_is_cut_off_a_running_server_and_the_others_go_on(folder: KeyFolder) -> None:
    folder.make_client("other")
    with (
        guarded(folder) as server,
        DefectClient(address(server), keys=client_keys(folder)) as revoked,
        DefectClient(address(server), keys=client_keys(folder, "other")) as other,
    ):
        for client in (revoked, other):
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
        wait_for(lambda: server.telemetry.counters().get("frames_answered") == 2)
        before = other.counters
        folder.revoke("scope")
        wait_for(lambda: revoked.state is ClientState.REFUSED)
        assert "keys admit" in revoked.reason
        with pytest.raises(ServerUnavailable):
            revoked.analyze(image(), context(), timeout_s=0.5)
        assert server.telemetry.counters()["frames_answered"] == 2
        other.analyze(image(), context(), timeout_s=PATIENCE_S)
        assert other.counters.errors == before.errors
    with guarded(folder) as server:
        assert_refused(server, client_keys(folder), "keys admit")


def test_fault_25_a_revoked_client_that_says_nothing_is_cut_too(folder: KeyFolder) -> None:
    wake, bell = socket.socketpair()
    with guarded(folder) as server:
        link = Link(address(server), wake, client_keys(folder))
        try:
            wait_for(lambda: True in link.events())
            link.send(protocol.encode(Hello(session=SESSION, id=1)))
            wait_for(lambda: link.receive() is not None)
            folder.revoke("scope")
            wait_for(lambda: False in link.events())
        finally:
            link.close()
            wake.close()
            bell.close()


def test_fault_25_a_revoked_key_does_not_come_back_under_another_name(
    folder: KeyFolder, tmp_path: Path
) -> None:
    copy = tmp_path / "again.key"
    folder.export("scope", copy)
    folder.revoke("scope")
    with pytest.raises(SecurityError, match="was revoked"):
        folder.admit(copy)
    # Nor where somebody copies the file by hand.
    (folder.path / "clients" / "again.key").write_bytes(copy.read_bytes())
    with guarded(folder) as server:
        assert_refused(server, client_keys(folder), "keys admit")


def test_fault_26_a_plaintext_client_is_refused(folder: KeyFolder) -> None:
    with guarded(folder) as server:
        assert_refused(server, None, "--server-key")
        with peer(server.port) as raw:
            raw.ask(Hello(session=SESSION, id=1))
            assert raw.is_silent(300)
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        with DefectClient(address(server), keys=client_keys(folder)) as client:
            client.analyze(image(), context(), timeout_s=PATIENCE_S)


def test_a_client_with_keys_does_not_talk_to_a_server_without(folder: KeyFolder) -> None:
    with serving() as server:
        # ZeroMQ tells that the other side has no keys, or, where it hangs up first, that it broke the handshake off.
        assert_refused(server, client_keys(folder), "uses no keys", "was it started with --keys")


def run_server(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "realtime.server", *options]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300, check=False)


def test_fault_27_without_keys_no_address_but_loopback_is_bound(tmp_path: Path) -> None:
    ended = run_server("--host", "0.0.0.0", "--port", "0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "CURVE keys" in ended.stderr
    assert "stemctx keys server" in ended.stderr
    with pytest.raises(SecurityError, match="stemctx keys server"):
        load_server_keys(tmp_path)
    with pytest.raises(SecurityError, match="--server-key"):
        DefectClient("tcp://192.0.2.7:47100")


def test_with_keys_any_address_of_this_machine_is_bound(folder: KeyFolder) -> None:
    keys = load_server_keys(folder.path)
    with Endpoint("0.0.0.0", keys=keys) as endpoint:
        assert endpoint.port
    with pytest.raises(InputError, match=r"0\.0\.0\.0 for all"):
        Endpoint("example.org", keys=keys)


@posix
def test_fault_28_a_key_that_others_can_read_is_refused(folder: KeyFolder) -> None:
    secret = folder.path / "own" / "scope.key_secret"
    for mode in (0o644, 0o640, 0o604, 0o620):
        secret.chmod(mode)
        with pytest.raises(SecurityError, match=f"mode {mode:04o}.*chmod 600"):
            client_keys(folder)
    secret.chmod(0o600)
    secret.parent.chmod(0o755)
    with pytest.raises(SecurityError, match="chmod 700"):
        client_keys(folder)
    secret.parent.chmod(0o700)
    client_keys(folder)
    (folder.path / "server.key_secret").chmod(0o644)
    ended = run_server("--keys", str(folder.path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"chmod 600 {folder.path / 'server.key_secret'}" in ended.stderr


@posix
def test_fault_28_a_folder_that_others_can_add_clients_to_is_refused(folder: KeyFolder) -> None:
    (folder.path / "clients").chmod(0o777)
    with pytest.raises(SecurityError, match="who could admit anyone"):
        Endpoint(keys=load_server_keys(folder.path))


@posix
def test_secret_files_are_made_for_their_user_alone(folder: KeyFolder) -> None:
    for place in (folder.path, folder.path / "own", folder.path / "clients"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    secrets = list(folder.path.rglob("*.key_secret"))
    assert len(secrets) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert not [p for p in folder.path.rglob("*") if p.is_dir() and p.name not in ("own", "clients")]


def test_key_files_are_those_of_zmq_auth(folder: KeyFolder) -> None:
    public, secret = zmq.auth.load_certificate(folder.path / "own" / "scope.key_secret")
    assert (public, secret) == read_secret(folder.path / "own" / "scope.key_secret")
    assert zmq.auth.load_certificates(folder.path / "clients") == {public: True}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, b'curve\n    public-key = "short"\n', b'curve\n    public-key = "' + b"~" * 40 + b'"\n', b"x" * 20_000],
)  # fmt: skip
def test_a_damaged_key_file_is_refused_and_admits_nobody(folder: KeyFolder, content: bytes) -> None:
    damaged = folder.path / "clients" / "damaged.key"
    damaged.write_bytes(content)
    with pytest.raises(SecurityError, match="cannot be read as a key file"):
        read_public(damaged)
    assert [e.name for e in folder.entries() if e.kind is KeyKind.ADMITTED] == ["scope"]


def test_a_secret_key_is_not_admitted_and_not_printed(folder: KeyFolder, tmp_path: Path) -> None:
    secret = folder.path / "own" / "scope.key_secret"
    disguised = tmp_path / "other.key"
    disguised.write_bytes(secret.read_bytes())
    for path in (secret, disguised):
        with pytest.raises((SecurityError, InputError), match=r"keys export|cannot name"):
            folder.admit(path)
    _, key = read_secret(secret)
    assert key.decode() not in repr(client_keys(folder))
    assert key.decode() not in repr(folder.entries())


@pytest.mark.parametrize("name", ["server", "", "../evil", "a/b", "a.b", ".hidden", "x" * 64, "a b"])
def test_a_name_cannot_lead_out_of_the_folder(folder: KeyFolder, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a client"):
        folder.make_client(name)


def test_the_commands_of_the_guide_do_what_it_says(tmp_path: Path) -> None:
    server, scope, run = str(tmp_path / "server"), str(tmp_path / "scope"), CliRunner()
    app = typer.Typer()
    key_commands.register(app)

    def keys(*words: str) -> str:
        done = run.invoke(app, ["keys", *words])
        assert done.exit_code == 0, done.output
        return done.output

    keys("server", "--folder", server)
    keys("export", "server", str(tmp_path / "gpu.key"), "--folder", server)
    keys("client", "scope", "--folder", scope)
    keys("export", "scope", str(tmp_path / "scope.key"), "--folder", scope)
    keys("admit", str(tmp_path / "scope.key"), "--folder", server)
    assert "admitted" in keys("list", "--folder", server)
    made = load_client_keys(Path(scope, "own", "scope.key_secret"), tmp_path / "gpu.key")
    with guarded(KeyFolder(Path(server))) as running:
        with DefectClient(address(running), keys=made) as client:
            client.analyze(image(), context(), timeout_s=PATIENCE_S)
        keys("revoke", "scope", "--folder", server)
        with DefectClient(address(running), keys=made) as client:
            wait_for(lambda: client.state is ClientState.REFUSED)
    assert "revoked" in keys("list", "--folder", server)


def test_fault_29_a_flood_is_told_to_wait_and_the_others_are_served() -> None:
    limits = Limits(requests_per_s=20.0)
    analyzer = KnownAnswers(sleep_s=0.02)
    with serving(analyzer, limits=limits) as server, peer(server.port) as flood, peer(server.port) as modest:
        stop = threading.Event()
        answers: list[Status] = []

        def pour() -> None:  # the flood's socket is used from this thread alone
            number = 0
            while not stop.wait(1 / 400):
                number += 1
                flood.ask(
                    FrameRequest(
                        session=SESSION, id=number, context=context(), frame=FrameIdentity("s", number)
                    ),
                    {"image": image()},
                )
                while not flood.is_silent(0):
                    answers.append(flood.reply()[0].status)

        pouring = threading.Thread(target=pour, name="stemctx-test-flood")
        pouring.start()
        try:
            wait_for(lambda: Status.BUSY in answers)
            for number in range(1, 11):
                request = FrameRequest(
                    session=b"b" * 16, id=number, context=context(), frame=FrameIdentity("m", number)
                )
                modest.ask(request, {"image": image(sites=3)})
                reply, arrays = modest.reply()
                assert (reply.id, reply.status, len(arrays["y_px"])) == (number, Status.OK, 3)
            wait_for(lambda: answers.count(Status.BUSY) > max(100, answers.count(Status.OK)))
        finally:
            stop.set()
            pouring.join()
        modest.ask(StatusRequest(session=b"b" * 16, id=99))
        status: Any = modest.reply()[0].body
    assert set(answers) <= {Status.OK, Status.STALE, Status.BUSY}
    assert status.counters["refused_busy"] >= answers.count(Status.BUSY)
    # The modest client was judged every time, between the frames of the flood.
    assert sum(seen.scan_id == "m" for seen in analyzer.seen) == 10


def test_fault_29_a_peer_that_invents_sessions_leaves_room_for_the_others() -> None:
    with (
        serving(limits=Limits(requests_per_s=1e6)) as server,
        peer(server.port) as greedy,
        peer(server.port) as modest,
    ):
        told = []
        for number in range(100):  # one at a time: what a peer does not read is not kept for it
            greedy.ask(Hello(session=number.to_bytes(16, "big"), id=number))
            told.append(greedy.reply()[0].status)
        assert told.count(Status.OK) == 8
        assert set(told[8:]) == {Status.BUSY}
        modest.ask(Hello(session=SESSION, id=1))
        assert modest.reply()[0].status is Status.OK


def test_a_quota_fills_up_again_and_forgets_who_is_gone() -> None:
    quota = Quota(10.0)
    assert [quota.takes(b"a", 0) for _ in range(11)] == [True] * 10 + [False]
    assert quota.takes(b"b", 0)
    assert quota.takes(b"a", 100_000_001)
    assert not quota.takes(b"a", 100_000_002)
    for number in range(5000):
        quota.takes(number.to_bytes(2, "big"), 2_000_000_000)
    assert len(quota) <= 1024


def test_a_server_process_with_keys_serves_its_client_and_ends(folder: KeyFolder) -> None:
    command = [sys.executable, "-m", "tests.realtime.support", "--port", "0", "--keys", str(folder.path)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().split()[1]
        with DefectClient(f"tcp://127.0.0.1:{port}", keys=client_keys(folder)) as client:
            assert len(client.analyze(image(sites=2), context(), timeout_s=PATIENCE_S).sites) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()
