"""`stemctx live`: the whole path with its own server process, and what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from typer.testing import CliRunner

from nionswift_plugin.stemctx.live import run as live_run
from nionswift_plugin.stemctx.live.commands import register
from realtime.recording.recorder import RecordingState
from realtime.recording.recordings import RecordingReader
from sim.instrument import MicroscopeSettings
from stemctx_core.errors import InputError, LibraryError, ServerUnavailable, StemctxError

# 1.0e5 electrons per square ångström on pixels of 0.195 Å, as by default, over a smaller field and in less time.
QUICK = ("--size", "320", "--fov-nm", "6.25", "--dwell-us", "4", "--probe-current-pa", "153")
#: `stemctx` with this command alone, so that the other rooms need not be installed.
COMMAND = (
    "import stemctx_core.cli as cli; from nionswift_plugin.stemctx.live.commands import register; "
    "cli.app.command('other', hidden=True)(lambda: None); register(cli.app); cli.main()"
)


def _run(*options: str) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, list(options))
    return result.exit_code, result.output, result.exception


def test_the_whole_path_and_what_it_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "live"
    code, output, error = _run(*QUICK, "--frames", "3", "--seed", "2", "--output", str(folder))
    assert code == 0, (output, error)
    lines = re.findall(
        r"^frame (\d+)  .*V_W \d+.*precision [\d.]+ recall [\d.]+  \d+ ms$", output, re.MULTILINE
    )
    assert lines
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert "high_tension_kv 80 (frame metadata" in output
    assert sorted(p.name for p in folder.iterdir()) == ["overlay.png", "results.jsonl", "summary.json"]
    assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [row["frame"]["shape"] for row in rows] == [[320, 320]] * len(lines)
    assert len({row["frame"]["scan_id"] for row in rows}) == len(lines)
    assert any(site["decision"] == "flag" for site in rows[0]["told"])
    summary = json.loads((folder / "summary.json").read_text())
    frames = summary["frames"]
    # Three of three, and on a machine that has much else to do some that a newer one replaced.
    assert frames["answered"] + frames["replaced"] == frames["scanned"] >= 3
    assert (frames["answered"], frames["refused"]) == (len(lines), 0)
    assert summary["precision"] >= 0.9
    assert summary["recall"] >= 0.9
    assert summary["detection"]["recall"] >= summary["recall"]
    assert summary["right"] == sum(row["score"]["strict"]["right"] for row in rows)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] < 60_000
    assert summary["engine"]["name"]
    assert summary["engine"]["reason"]
    context = summary["context"]
    assert context["host"] == "WSe2"
    assert context["inner_mrad"] == {
        "type": "known", "value": 70.0, "source": "instrument", "detail": "control HAADF_Inner_ha"
    }  # fmt: skip
    assert context["dose_e_per_angstrom2"]["value"] == pytest.approx(1.0e5, rel=0.01)
    assert not summary["interrupted"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (("--host", "Graphene"), InputError, "no host 'Graphene'"),
        (("--dopant", "Xx"), InputError, "no element 'Xx'"),
        (("--dopant", "W"), InputError, "not a dopant"),
        (("--high-tension-kv", "150"), LibraryError, "not 150 kV"),
        (("--inner-mrad", "10"), LibraryError, "inner angle at least 35"),
        (("--fov-nm", "nan"), InputError, "--fov-nm of nan cannot be"),
        (("--dwell-us", "0"), InputError, "--dwell-us of 0 cannot be"),
        (("--fov-nm", "500"), LibraryError, "Zoom in"),
    ],
    ids=lambda v: "_".join(v) if isinstance(v, tuple) else "",
)
def test_what_cannot_be_is_said_before_anything_is_scanned(
    tmp_path: Path, options: tuple[str, ...], kind: type[StemctxError], words: str
) -> None:
    code, _, error = _run(*options, "--output", str(tmp_path / "live"))
    assert code != 0
    assert isinstance(error, kind)
    assert words in str(error)
    assert not (tmp_path / "live").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, error = _run(*QUICK, "--output", str(tmp_path / "file" / "live"))
    assert code != 0
    assert isinstance(error, InputError)
    assert "Choose another --output" in str(error)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there always is a display")
def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    _, _, error = _run("--window")
    assert isinstance(error, InputError)
    assert "no display" in str(error)


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_run, "PATIENCE_S", 2.0)
    settings = MicroscopeSettings(size=(64, 64), fov_nm=2.0, dwell_us=5.0)
    frames: list[Any] = []
    run = live_run.LiveRun(settings, 1, on_frame=frames.append, address="tcp://127.0.0.1:9")
    with pytest.raises(ServerUnavailable, match=r"No answer came in 2 s .* --server tcp://127\.0\.0\.1:9"):
        run.run()
    assert not frames


def test_refused_frames_are_results(server_address: str) -> None:
    """A field too small for a lattice: every frame is refused in words, and the run ends well."""
    settings = MicroscopeSettings(size=(32, 32), fov_nm=0.3, dwell_us=100.0)
    frames: list[Any] = []
    report = live_run.LiveRun(settings, 2, on_frame=frames.append, address=server_address).run()
    assert report.refused == len(frames) >= 2
    assert all(f.result.refusal.reason for f in frames)
    assert report.summary()["precision"] is None


def test_newer_frames_replace_older_ones_where_the_server_is_slower(server_address: str) -> None:
    settings = MicroscopeSettings(size=(256, 256), fov_nm=5.0, dwell_us=0.8, probe_current_pa=760.0)
    frames: list[Any] = []
    report = live_run.LiveRun(settings, 12, on_frame=frames.append, address=server_address).run()
    assert report.scanned >= 12
    assert len(frames) + report.replaced == report.scanned
    numbers = [f.result.frame.frame_index for f in frames]
    assert numbers == sorted(numbers)
    assert max(numbers) == report.scanned - 1


@pytest.mark.skipif(os.name != "posix", reason="a terminal's Ctrl-C is a signal only on POSIX")
def test_ctrl_c_leaves_what_there_is_and_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "live", *QUICK, "--frames", "1000", "--output", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(500.0, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("frame 2"):
                servers = psutil.Process(process.pid).children(recursive=True)
                assert servers
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                break
        said += process.stdout.read()
        assert process.wait() == 130, said
    finally:
        watchdog.cancel()
        process.stdout.close() if process.stdout else None
    assert "Traceback" not in said
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["interrupted"]
    assert summary["frames"]["answered"] >= 2
    assert not psutil.wait_procs(servers, 60.0)[1]
    assert not _group_lives(process.pid)


@pytest.mark.skipif(os.name != "posix", reason="a terminal's Ctrl-C is a signal only on POSIX")
def test_ctrl_c_while_the_server_starts_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "live", *QUICK, "--frames", "1000", "--output", str(tmp_path / "live")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(500.0, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        parent = psutil.Process(process.pid)
        while not (servers := parent.children()) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[0]
    finally:
        watchdog.cancel()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not psutil.wait_procs(servers, 60.0)[1]
    assert not _group_lives(process.pid)


def test_an_error_on_the_command_line_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, "live", "--host", "Graphene", "--output", str(tmp_path / "live")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("stemctx: There is no host 'Graphene'. Known hosts:")
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_fault_59_a_recording_that_fails_is_visible_and_the_run_goes_on(
    tmp_path: Path, server_address: str
) -> None:
    (tmp_path / "file").write_text("")
    settings = MicroscopeSettings(size=(256, 256), fov_nm=5.0, dwell_us=5.0)
    frames: list[Any] = []
    run = live_run.LiveRun(
        settings, 2, on_frame=frames.append, address=server_address, record=tmp_path / "file" / "live.h5"
    )
    report = run.run()
    assert len(frames) >= 2
    assert report.recording is not None
    assert report.recording.state is RecordingState.FAILED
    assert "no longer recorded" in report.summary()["recording"]["reason"]
    assert report.recording.lost >= 2


def test_a_run_is_recorded_as_it_was_judged(tmp_path: Path, server_address: str) -> None:
    path = tmp_path / "live.h5"
    settings = MicroscopeSettings(size=(256, 256), fov_nm=5.0, dwell_us=5.0)
    frames: list[Any] = []
    run = live_run.LiveRun(settings, 2, on_frame=frames.append, address=server_address, record=path)
    report = run.run()
    assert report.recording is not None
    assert report.recording.written >= len(frames) >= 2
    with RecordingReader(path) as recording:
        by_scan = {f.header.frame.scan_id: f for f in recording}
    for frame in frames:
        kept = by_scan[frame.result.frame.scan_id]
        assert (kept.image == frame.image).all()
        assert kept.result is not None
        assert kept.result.summary() == frame.result.summary()
