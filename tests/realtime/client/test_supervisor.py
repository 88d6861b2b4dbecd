"""Real server processes: started, killed, stopped, orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from realtime.client import DefectClient
from realtime.client.supervisor import LocalServer, ServerState
from realtime.server.endpoint import Endpoint
from realtime.wire import protocol
from realtime.wire.messages import Bye, Hello, Status
from stemctx_core.errors import ServerUnavailable
from stemctx_core.results import FrameIdentity
from tests.realtime.server.test_server import peer
from tests.realtime.support import PATIENCE_S, SLEEP, context, image, wait_for

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tests.realtime.support"]


def process(*options: str, module: str = "tests.realtime.support") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *options], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def port_of(started: subprocess.Popen[str]) -> int:
    assert started.stdout is not None
    ready, port = started.stdout.readline().split()
    assert ready == "READY"
    return int(port)


def finish(started: subprocess.Popen[str], seconds: float = PATIENCE_S) -> tuple[int, str, str]:
    try:
        out, err = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        raise
    return started.returncode, out, err


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_server_that_cannot_start_says_why() -> None:
    with Endpoint() as taken:
        code = f"import sys; sys.argv = ['x', '--port', '{taken.port}']; from tests.realtime import support; support.main()"
        with pytest.raises(ServerUnavailable, match=f"Port {taken.port}"):
            LocalServer(command=[sys.executable, "-c", code]).start()
    with pytest.raises(ServerUnavailable, match="cannot be run"):
        LocalServer(command=["/no/such/program"]).start()
    with pytest.raises(ServerUnavailable, match="not ready after"):
        LocalServer(command=[sys.executable, "-c", "import time; time.sleep(60)"], start_timeout_s=0.3).start()


def test_a_damaged_bundle_is_told_by_the_real_server(tmp_path: Path) -> None:
    server = LocalServer(bundle=tmp_path)
    with pytest.raises(ServerUnavailable, match="model bundle"):
        server.start()
    assert server.state is ServerState.OFF


def test_stop_and_start_again() -> None:
    server = LocalServer(command=COMMAND)
    for _ in range(2):
        with server, DefectClient(server.address) as client:
            assert len(client.analyze(image(), context(), timeout_s=PATIENCE_S).sites) == 5
    with pytest.raises(ServerUnavailable, match="start"):
        _ = server.address


def test_the_server_ends_with_its_parent() -> None:
    parent = (
        "import os, sys; from realtime.client.supervisor import LocalServer\n"
        "server = LocalServer(command=[sys.executable, '-m', 'tests.realtime.support']).start()\n"
        "print(server.pid, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 9, done.stderr
    pid = int(done.stdout)

    def gone() -> bool:
        try:
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True

    wait_for(gone)


def test_the_server_ends_with_its_parent_even_in_the_middle_of_a_frame() -> None:
    server = process("--port", "0", "--parent-pipe")
    with DefectClient(f"tcp://127.0.0.1:{port_of(server)}") as client:
        client.submit(image(first=SLEEP), context(), FrameIdentity("endless"))
        wait_for(lambda: client.status(PATIENCE_S).under_way == 1)
        assert server.stdin is not None
        assert finish(server)[0] == 0  # communicate() closes its input, and the frame takes an hour


def test_sigterm_ends_the_server_cleanly() -> None:
    server = process("--port", "0")
    port_of(server)
    server.send_signal(signal.SIGTERM)
    code, out, err = finish(server)
    assert (code, out, err) == (0, "", "")


def test_no_goodbye_ends_a_server_process() -> None:
    server = process("--port", "0")
    with peer(port_of(server)) as client:
        parts = protocol.encode(Bye(session=b"a" * 16, id=1))
        header = msgspec.msgpack.decode(parts[1])
        client.send([parts[0], msgspec.msgpack.encode({**header, "stop_server": True})])
        assert client.reply()[0].status is Status.BAD_REQUEST
        client.ask(Bye(session=b"a" * 16, id=2))
        client.ask(Hello(session=b"a" * 16, id=3))
        assert client.reply()[0].id == 3
    assert server.poll() is None
    server.send_signal(signal.SIGTERM)
    assert finish(server)[0] == 0


def test_the_real_server_names_a_port_in_use() -> None:
    with Endpoint() as taken:
        code, out, err = finish(process("--port", str(taken.port), module="realtime.server"))
    assert (code, out) == (2, "")
    assert f"Port {taken.port}" in err
    assert "Traceback" not in err


def test_the_real_server_refuses_an_address_that_others_reach() -> None:
    code, out, err = finish(process("--host", "0.0.0.0", module="realtime.server"))
    assert (code, out) == (2, "")
    assert "CURVE keys" in err
