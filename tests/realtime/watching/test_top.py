"""`stemctx top`: what a server says of itself, for people and for scripts."""

from __future__ import annotations

import io
import json

import typer
from rich.console import Console
from typer.testing import CliRunner

from realtime.client import DefectClient
from realtime.watching.commands import register
from realtime.watching.telemetry import BUCKET_EDGES_MS
from realtime.watching.top import view
from realtime.wire.messages import ProcessStatus, ServerStatus
from stemctx_core.errors import InputError, ServerUnavailable
from stemctx_core.results import EngineInfo, FrameIdentity
from tests.realtime.support import PATIENCE_S, context, image, serving


def run(*options: str) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    register(app)
    ran = CliRunner().invoke(app, list(options), env={"COLUMNS": "160"})
    return ran.exit_code, ran.stdout, ran.exception


def test_a_server_is_looked_at_once() -> None:
    with serving() as server:
        address = f"tcp://127.0.0.1:{server.port}"
        with DefectClient(address) as client:
            for number in range(3):
                client.analyze(image(), context(), FrameIdentity("s", number), timeout_s=PATIENCE_S)
        code, output, _ = run(address, "--once", "--json")
        status = json.loads(output)
        _, shown, _ = run(address, "--once")
    assert code == 0
    # "sites" and "posterior" are steps of the analysis.
    assert {"queue", "find", "infer", "analyze", "reply"} <= status["stages"].keys()
    find = status["stages"]["find"]
    assert find["count"] == sum(find["counts"]) == 3
    assert len(find["counts"]) == len(BUCKET_EDGES_MS) + 1
    assert status["counters"]["frames_answered"] == 3
    assert status["model_sha256"] == "0" * 64
    assert status["process"]["memory_bytes"] > 10_000_000
    assert status["process"]["threads"] >= 2
    assert status["process"]["open_files"] >= 3
    for words in ("known answers", "find", "frames answered", "MiB", "000000000000"):
        assert words in shown


def test_a_server_that_is_not_there_is_told() -> None:
    _, _, error = run("tcp://127.0.0.1:9", "--once", "--timeout-s", "0.3")
    assert isinstance(error, ServerUnavailable)
    assert "stemctx serve" in str(error)


def test_one_key_alone_is_told() -> None:
    _, _, error = run("tcp://127.0.0.1:9", "--key", "client.key_secret")
    assert isinstance(error, InputError)
    assert "both" in str(error)


def test_rates_go_by_the_servers_clock_and_survive_its_restart() -> None:
    def at(uptime_s: float, frames: int, cpu_s: float) -> ServerStatus:
        return ServerStatus(
            uptime_s=uptime_s, model="m", model_sha256="0" * 64, engine=EngineInfo("e", "r"), clients=1, queue_depth=0,
            under_way=0, process=ProcessStatus(1 << 20, 3, 2, cpu_s), counters={"frames_answered": frames},
        )  # fmt: skip

    def shown(status: ServerStatus, before: ServerStatus) -> str:
        console = Console(width=120, file=io.StringIO(), record=True)
        console.print(view("tcp://127.0.0.1:1", status, before))
        return console.export_text()

    steady = shown(at(12.0, 50, 3.0), at(10.0, 10, 2.0))
    assert "20.0" in steady
    assert "50 % of a processor" in steady
    assert "0.0" in shown(at(1.0, 2, 0.5), at(10.0, 10, 2.0))
