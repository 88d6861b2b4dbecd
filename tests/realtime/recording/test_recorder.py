"""Recording never stops the live path, and what was written can be read, whatever happens to the disk or the process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from realtime.client import DefectClient
from realtime.client.answers import Answer
from realtime.recording.recorder import FrameRecorder, RecordingState
from realtime.recording.recordings import RecordingReader
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity, FrameResult
from tests.realtime.support import (
    PATIENCE_S,
    RAISE,
    KnownAnswers,
    context,
    image,
    refused,
    result,
    serving,
    wait_for,
)

NOISE = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)


def answer(number: int = 0, sites: int = 5) -> Answer:
    frame = FrameIdentity("scan-1", number, 256, (256, 256))
    return Answer(
        NOISE + number, context(), frame, time.monotonic_ns(), result(sites, frame=frame, seed=number)
    )


def written(path: Path) -> int:
    """Frames in a file, each of which is checked."""
    with RecordingReader(path) as recording:
        for number, frame in enumerate(recording):
            assert frame.header.number == number + 1
            np.testing.assert_array_equal(frame.image, NOISE + frame.header.frame.frame_index)
            assert frame.result is not None
            assert same(frame.result, result(5, frame=frame.header.frame, seed=frame.header.frame.frame_index))
        return len(recording)


def same(one: FrameResult, other: FrameResult) -> bool:
    columns = ("y_px", "x_px", "sublattice", "posterior", "best", "decision", "reason")
    equal = all(np.array_equal(getattr(one.sites, c), getattr(other.sites, c)) for c in columns)
    return equal and one.summary() == other.summary()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may grow beyond this: what a full disk does, to this process alone. Python ignores the signal."""
    resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_frames_context_and_results_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "run" / "live.h5"
    rows = FrameIdentity("scan-2", 7, 40, (256, 256))
    counts = np.arange(12, dtype=np.uint16).reshape(3, 4)
    with FrameRecorder(path, "tcp://somewhere:1") as recorder:
        recorder.record(answer(3))
        recorder.record(Answer(NOISE, context(), rows, time.monotonic_ns(), refused(), model_sha256="f" * 64))
        recorder.record(Answer(counts, context(), FrameIdentity(), time.monotonic_ns(), error="it was late"))
    assert recorder.status.state is RecordingState.CLOSED
    assert (recorder.status.written, recorder.status.lost) == (3, 0)
    with RecordingReader(path) as recording:
        assert recording.session.address == "tcp://somewhere:1"
        first, second, third = recording
    assert first.result is not None
    assert second.result is not None
    assert same(first.result, result(5, frame=first.header.frame, seed=3))
    assert same(second.result, refused())
    assert (second.header.model_sha256, second.header.frame) == ("f" * 64, rows)
    np.testing.assert_array_equal(second.image, NOISE[:40])
    assert third.result is None
    assert third.header.error == "it was late"
    assert third.image.dtype == np.uint16
    assert first.header.context == context()
    assert 0 <= first.header.since_start_ms <= second.header.since_start_ms
    assert first.header.latency_ms >= 0


def test_a_client_records_what_it_sends_and_gets(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    with serving() as server, FrameRecorder(path) as recorder:
        with DefectClient(f"tcp://127.0.0.1:{server.port}", recorder=recorder) as client:
            got = client.analyze(image(4), context(), FrameIdentity("a", 1, 64, (64, 64)), timeout_s=PATIENCE_S)
            client.submit(image(6, first=RAISE), context(), FrameIdentity("a", 2, 64, (64, 64)))
            wait_for(lambda: client.counters.errors == 1)
        wait_for(lambda: recorder.status.written == 2)
    with RecordingReader(path) as recording:
        answered, failed = recording
    assert answered.result is not None
    assert same(answered.result, got)
    assert answered.header.model_sha256 == KnownAnswers().model_sha256
    assert failed.result is None
    assert "asked to" in failed.header.error
    np.testing.assert_array_equal(failed.image, image(6, first=RAISE))


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    path.write_bytes(b"precious")
    with FrameRecorder(path) as recorder:
        recorder.record(answer())
        wait_for(lambda: recorder.status.state is RecordingState.FAILED)
    assert "there already" in recorder.status.reason
    assert path.read_bytes() == b"precious"


def test_a_slow_disk_costs_frames_of_the_recording_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    answers = [answer(number) for number in range(100)]  # so that no disk keeps up with the loop that follows
    with FrameRecorder(path, most_waiting_bytes=3 * NOISE.nbytes) as recorder:
        for given in answers:
            recorder.record(given)
        assert recorder.status.waiting_bytes <= 3 * NOISE.nbytes
    status = recorder.status
    assert status.lost > 0
    assert status.written + status.lost == 100
    assert "too slow" in status.reason
    assert written(path) == status.written


def test_pixels_that_cannot_be_written_are_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    with FrameRecorder(path) as recorder:
        for odd in (NOISE[0, 0], NOISE[0], NOISE + 1j):
            recorder.record(Answer(np.asarray(odd), context(), FrameIdentity(), 0))
        recorder.record(answer(1))
    assert (recorder.status.written, recorder.status.lost) == (1, 3)
    assert written(path) == 1


def live_goes_on(recorder: FrameRecorder, fill: bool = True) -> None:
    """Frames are answered while the recording fails, and afterwards."""
    with (
        serving() as server,
        DefectClient(f"tcp://127.0.0.1:{server.port}", recorder=recorder) as client,
    ):
        frame = NOISE.copy()
        frame[-1, -1] = 3
        number, end = 0, time.monotonic() + PATIENCE_S
        while recorder.status.state is not RecordingState.FAILED:
            number += 1
            assert time.monotonic() < end, "the recording never failed"
            assert len(client.analyze(frame, context(), FrameIdentity("s", number), PATIENCE_S).sites) == 3
        assert len(client.analyze(frame, context(), FrameIdentity("s", number + 1), PATIENCE_S).sites) == 3
    assert recorder.status.lost >= 1
    assert "no longer recorded" in recorder.status.reason


def test_fault_59_a_full_disk_stops_the_recording_and_not_the_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "live.h5"
    with FrameRecorder(path) as recorder, file_limit(20 * NOISE.nbytes):
        recorder.record(answer())
        wait_for(lambda: recorder.status.written == 1)
        live_goes_on(recorder)
    assert "no longer recorded" in caplog.text
    with RecordingReader(path) as recording:
        assert 1 <= len(recording) == recorder.status.written
        assert all(f.result is not None for f in recording)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_fault_59_a_small_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        path = disk / "live.h5"
        with FrameRecorder(path) as recorder:
            recorder.record(answer())
            wait_for(lambda: recorder.status.written == 1)
            live_goes_on(recorder)
        with RecordingReader(path) as recording:
            assert 1 <= len(recording) == recorder.status.written
            assert all(f.result is not None for f in recording)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_fault_59_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with FrameRecorder(tmp_path / "file" / "live.h5") as recorder:
        live_goes_on(recorder)
    assert recorder.status.written == 0


@pytest.mark.parametrize("how", ["folder", "file", "replaced"])
def test_fault_59_a_path_that_vanishes(tmp_path: Path, how: str) -> None:
    path = tmp_path / "disk" / "live.h5"
    with FrameRecorder(path) as recorder:
        recorder.record(answer(1))
        wait_for(lambda: recorder.status.written == 1)
        kept = tmp_path / "kept.h5"
        os.link(path, kept)
        if how == "folder":
            shutil.rmtree(path.parent)
        else:
            path.unlink()
        if how == "replaced":
            path.write_text("another file")
        live_goes_on(recorder)
    assert recorder.status.written == 1
    assert written(kept) == 1


_WRITER = """
import pathlib, sys, time
from realtime.recording.recorder import FrameRecorder
from tests.realtime.recording.test_recorder import answer
with FrameRecorder(pathlib.Path(sys.argv[1])) as recorder:
    number = 0
    while True:
        number += 1
        recorder.record(answer(number))
        while recorder.status.waiting_bytes > 1_000_000:
            time.sleep(0.001)
        time.sleep(0.005)
        print(recorder.status.written, flush=True)
"""


def killed_writer(path: Path, after: int) -> int:
    """Kill a process that records as fast as it can; say how many frames it said were in the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    said = [0]

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                said[0] = int(line)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        wait_for(lambda: said[0] >= after)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        listener.join()
        process.stdout.close()
    return said[0]


def test_fault_60_a_killed_process_leaves_a_file_that_is_read_to_the_last_frame(tmp_path: Path) -> None:
    after = 17
    path = tmp_path / "live.h5"
    said = killed_writer(path, after)
    assert said >= after
    assert written(path) >= said


def test_a_recording_of_another_kind_or_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        RecordingReader(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match="not a stemctx record"):
        RecordingReader(tmp_path / "text.h5")
