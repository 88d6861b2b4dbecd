"""`stemctx recover`: what is whole of a damaged recording is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from realtime.recording.commands import register
from realtime.recording.recorder import FrameRecorder
from realtime.recording.recordings import RecordingReader
from realtime.recording.recovery import recover
from realtime.storage.durable import journal_of
from stemctx_core.errors import InputError
from tests.realtime.recording.test_recorder import NOISE, answer, killed_writer, written


def recording(path: Path, frames: int = 12) -> Path:
    with FrameRecorder(path) as recorder:
        for number in range(frames):
            recorder.record(answer(number))
    assert recorder.status.written == frames
    return path


def pixels_at(content: bytes, number: int) -> int:
    """Where the pixels of a frame lie."""
    return content.index((NOISE + number).tobytes())


def test_fault_60_a_killed_recording_is_saved_whole_with_and_without_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    said = killed_writer(path, 5)
    saved = recover(path, tmp_path / "saved.h5")
    assert len(saved.frames) >= said
    assert not saved.lost
    assert written(tmp_path / "saved.h5") == len(saved.frames)
    journal_of(path).unlink(missing_ok=True)
    assert len(recover(path, tmp_path / "without.h5").frames) >= said - 1


def test_fault_60_a_damaged_frame_is_lost_alone(tmp_path: Path) -> None:
    path = recording(tmp_path / "live.h5")
    content = bytearray(path.read_bytes())
    content[pixels_at(content, 4) + 1000] ^= 0xFF
    path.write_bytes(content)
    with RecordingReader(path) as reading, pytest.raises(InputError, match="damaged"):
        list(reading)
    app = typer.Typer()
    register(app)
    ran = CliRunner().invoke(app, ["recover", str(path), str(tmp_path / "saved.h5")])
    assert ran.exit_code == 0
    assert "11 frames saved" in ran.output
    assert "lost: frame 5" in ran.output
    assert path.read_bytes() == bytes(content)
    with RecordingReader(tmp_path / "saved.h5") as saved:
        assert [f.header.number for f in saved] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]


def test_a_file_without_its_end_has_lost_its_index_and_says_so(tmp_path: Path) -> None:
    path = recording(tmp_path / "live.h5")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(InputError, match="damaged"):
        recover(path, tmp_path / "saved.h5")
    assert not (tmp_path / "saved.h5").exists()


def test_what_cannot_be_recovered_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    for name, content in {"text.h5": b"text", "empty.h5": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            recover(tmp_path / name, tmp_path / "saved.h5")
    with pytest.raises(InputError, match="no file"):
        recover(tmp_path / "none.h5", tmp_path / "saved.h5")
    with pytest.raises(InputError, match="there already"):
        recover(recording(tmp_path / "live.h5", 1), tmp_path / "text.h5")
    assert {p.name for p in tmp_path.iterdir()} == {"text.h5", "empty.h5", "live.h5"}
