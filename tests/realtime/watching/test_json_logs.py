"""The log as lines of JSON: which session, which frame, bounded, and never in the way."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from realtime.client import DefectClient
from realtime.server.launch import parsed
from realtime.watching import json_logs
from realtime.watching.json_logs import json_log
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity
from tests.realtime.processes import server_process
from tests.realtime.support import PATIENCE_S, RAISE, context, image, wait_for


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_environment_names_the_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed([]).log_json is None
    monkeypatch.setenv(json_logs.LOG_VARIABLE, "server.jsonl")
    assert parsed([]).log_json == Path("server.jsonl")


def test_a_server_process_logs_frames_with_session_and_identity(tmp_path: Path) -> None:
    path = tmp_path / "server.jsonl"
    with server_process("--log-json", str(path)) as address, DefectClient(address) as client:
        client.analyze(image(), context(), FrameIdentity("scan-7", 41, 64, (64, 64)), timeout_s=PATIENCE_S)
        client.submit(image(first=RAISE), context(), FrameIdentity("scan-7", 42, 64, (64, 64)))
        wait_for(lambda: client.counters.errors == 1)
    told = lines(path)
    answered = next(line for line in told if line["message"] == "frame answered")
    assert (answered["scan_id"], answered["frame_index"], answered["valid_rows"]) == ("scan-7", 41, 64)
    assert len(answered["session"]) == 32
    assert answered["timing_ms"]["sites"] == 1.5
    failed = next(line for line in told if line["message"].startswith("frame not answered"))
    assert (failed["frame_index"], failed["session"]) == (42, answered["session"])
    assert any("ArithmeticError" in line.get("traceback", "") for line in told)
    assert all({"utc", "level", "logger"} <= line.keys() for line in told)


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_logs, "FILE_BYTES", 2000)
    path = tmp_path / "log.jsonl"
    logger = logging.getLogger("realtime.test")
    with json_log(path):
        for number in range(500):
            logger.info("number %d", number)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 1 + json_logs.OLDER_FILES
    assert all(p.stat().st_size <= 2000 for p in kept)
    assert lines(path)[-1]["message"] == "number 499"
    assert not logging.getLogger("realtime").handlers
    logger.info("not any more")
    assert lines(path)[-1]["message"] == "number 499"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here to stand for a full disk")
def test_a_full_disk_costs_lines_and_nothing_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with json_log(tmp_path / "log.jsonl"):
        logging.getLogger("realtime.test").info("lost")
    assert "Traceback" not in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), json_log(tmp_path / "file" / "log.jsonl"):
        pass
