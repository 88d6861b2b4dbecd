"""`stemctx top`: what a server says of itself, for people and for scripts."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from realtime.client import DefectClient
from realtime.telemetry import BUCKET_EDGES_MS
from realtime.top_commands import register
from stemctx_core.errors import InputError, ServerUnavailable
from stemctx_core.results import FrameIdentity
from tests.realtime.support import context, image, serving


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
                client.analyze(image(), context(), FrameIdentity("s", number))
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
