"""Recording never stops the live path, and what was written can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime.recorder import RecorderState, ResultRecorder
from tests.realtime.support import result, wait_for

FULL = Path("/dev/full")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_result_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.jsonl"
    with ResultRecorder(path) as recorder:
        for count in (0, 3, 9):
            recorder.record(result(count))
        wait_for(lambda: recorder.written == 3)
        assert [line["sites"] for line in lines(path)] == [0, 3, 9]
        assert recorder.state is RecorderState.RECORDING
    assert recorder.state is RecorderState.CLOSED


def test_a_recording_goes_on_after_a_crash_left_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultRecorder(path) as recorder:
        recorder.record(result(3))
    with path.open("a") as file:
        file.write('{"sites": 4, "fla')
    with ResultRecorder(path) as recorder:
        recorder.record(result(5))
    assert [line["sites"] for line in lines(path)] == [3, 5]


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here to stand for a full disk")
def test_a_full_disk_is_visible_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with ResultRecorder(FULL) as recorder:
        recorder.record(result(3))
        wait_for(lambda: recorder.state is RecorderState.FAILED)
        recorder.record(result(3))
        assert recorder.lost == 2
        assert "Free the disk" in recorder.reason
    assert recorder.state is RecorderState.FAILED
    assert "no longer recorded" in caplog.text


def test_a_line_that_does_not_fit_is_cut_off_again(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")
    import signal

    path = tmp_path / "results.jsonl"
    with ResultRecorder(path) as recorder:
        recorder.record(result(3))
    whole = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 100, before[1]))
    try:
        with ResultRecorder(path) as recorder:
            recorder.record(result(500))
            wait_for(lambda: recorder.state is RecorderState.FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [line["sites"] for line in lines(path)] == [3]


def test_a_place_that_cannot_be_written_is_visible(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ResultRecorder(tmp_path / "file" / "results.jsonl") as recorder:
        recorder.record(result(1))
        assert recorder.state is RecorderState.FAILED
        assert recorder.lost == 1
