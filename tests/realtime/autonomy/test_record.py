"""What a session did is in its record, whatever became of the session."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from realtime.autonomy.record.event_log import RecordError, RecordState
from realtime.autonomy.record.events import ExposureDone, ExposureIntended, SessionEnded, SessionStarted
from realtime.autonomy.record.reader import read_record
from realtime.autonomy.record.recorder import Recorder
from stemctx_core.errors import InputError
from stemctx_core.results import Refusal
from tests.conftest import REPOSITORY
from tests.realtime.exposures import DOSE, frame, request, same_frame, same_result, verdict
from tests.realtime.support import wait_for


def recorder(path: Path, resume: bool = False) -> Recorder:
    return Recorder.open(path, session={"policy": "grid", "fields": 4}, resume=resume)


def expose(into: Recorder, number: int) -> None:
    into.exposure_done(
        into.exposure_intended(f"k{number}", request(number), DOSE, "survey"), frame(number), verdict(number)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "record.h5"


@pytest.fixture
def written(path: Path) -> Path:
    """A record of three exposures (the last unfinished), a decision and a note."""
    with recorder(path) as r:
        expose(r, 1)
        expose(r, 2)
        r.decision("revisit", {"posterior": {"V_W": 0.7}}, "zoom on k1")
        r.exposure_intended("k3", request(3), DOSE, "zoom")
        r.note("the chamber light was on")
    return path


def test_everything_comes_back_as_it_was(path: Path) -> None:
    channels = ("HAADF", "MAADF/0°", "..", "")
    frames = [frame(n, channels) for n in range(1, 5)]
    frames[1].images["HAADF"][3, 4] = np.nan
    frames[2].images[".."] = np.arange(12, dtype=np.uint16).reshape(3, 4)
    results = [verdict(n) for n in range(1, 5)]
    calibration = msgspec.structs.replace(results[1].calibration, jitter_angstrom=float("inf"))  # type: ignore[type-var]
    results[1] = replace(results[1], calibration=calibration)
    results[3] = replace(verdict(7), frame=frames[3].frame)
    with recorder(path) as r:
        for n, (f, v) in enumerate(zip(frames, results, strict=True), 1):
            r.exposure_done(r.exposure_intended(f"k{n}", request(n), DOSE * n, "survey"), f, v)
        view = r.load_view("k2")
        assert view is not None
        assert same_frame(view[0], frames[1])
        assert same_result(view[1], results[1])
    with read_record(path) as read:
        assert [e.intended.key for e in read.exposures] == ["k1", "k2", "k3", "k4"]
        assert [e.intended.dose_e_per_angstrom2 for e in read.exposures] == [DOSE * n for n in (1, 2, 3, 4)]
        assert all(e.intended.request == request(e.number) for e in read.exposures)
        for exposure, told in read.results():
            assert same_result(told, results[exposure.number - 1])
            assert same_frame(read.frame(exposure.number), frames[exposure.number - 1])
        done = [e.done for e in read.exposures]
        assert done[0] is not None
        assert done[0].flags == results[0].flag_counts() != {}
        assert done[3] is not None
        assert done[3].refusal.startswith("no_lattice: ")
        assert isinstance(results[3].refusal, Refusal)


def test_events_are_in_order_with_their_times(written: Path) -> None:
    with read_record(written) as read:
        kinds = [type(e).__name__ for e in read.events]
        assert kinds == [
            "SessionStarted", "ExposureIntended", "ExposureDone", "ExposureIntended", "ExposureDone", "DecisionTaken",
            "ExposureIntended", "Noted", "SessionEnded",
        ]  # fmt: skip
        assert [e.utc for e in read.events] == sorted(e.utc for e in read.events)
        assert read.sessions[0].session == {"policy": "grid", "fields": 4}
        assert set(read.sessions[0].software) == {"stemctx", "python", "h5py"}
        assert read.notes[0].text == "the chamber light was on"


def test_an_exposure_that_was_begun_is_spent_and_has_no_view(written: Path) -> None:
    with recorder(written, resume=True) as r:
        assert r.intended_keys() == {"k1", "k2", "k3"}
        assert list(r.spent()) == [(request(n), DOSE) for n in (1, 2, 3)]
        assert r.load_view("k3") is None
        assert r.load_view("k4") is None
        for key in ("k1", "k3"):
            with pytest.raises(InputError, match=f"'{key}' was made already, or begun"):
                r.exposure_intended(key, request(1), DOSE, "survey")
        with pytest.raises(InputError, match="recorded already"):
            r.exposure_done(1, frame(1), verdict(1))
        with pytest.raises(InputError, match="never intended"):
            r.exposure_done(9, frame(1), verdict(1))
        assert r.exposure_intended("", request(4), DOSE, "look") == 4
        assert r.state is RecordState.RECORDING
    with read_record(written) as read:
        assert [e.done is None for e in read.exposures] == [False, False, True, True]
        with pytest.raises(InputError, match="no frame of exposure 3"):
            read.frame(3)


def test_a_decision_carries_its_evidence_and_the_dose_so_far(path: Path) -> None:
    with recorder(path) as r:
        expose(r, 1)
        evidence = {
            "frame": frame(1).frame, "context": frame(1).context, "posterior": {"V_W": np.float32(0.5), "W": 0.5},
            "rows": np.arange(3), "image": frame(1).image, "best": float("nan"), 4: (1.5, None),
        }  # fmt: skip
        r.decision("confirm", evidence, "zoom")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="cannot be recorded"):
            r.decision("confirm", {"a": {(1, 2): 3}}, "zoom")
        with pytest.raises(InputError, match="Give less evidence"):
            r.decision("confirm", {"a": "x" * (1 << 21)}, "zoom")
        assert r.state is RecordState.RECORDING
    with read_record(path) as read:
        (told,) = read.decisions
    assert (told.rule, told.action, told.exposures) == ("confirm", "zoom", 1)
    assert told.electrons == pytest.approx(DOSE * 80 * 80 * 64 / 96)
    assert told.evidence["frame"]["scan_id"] == "scan-1"
    assert told.evidence["context"]["high_tension_kv"]["value"] == 80.0
    assert told.evidence["posterior"] == {"V_W": 0.5, "W": 0.5}
    assert told.evidence["rows"] == [0, 1, 2]
    assert told.evidence["image"] == "array (64, 96) of float32"
    assert np.isnan(told.evidence["best"])
    assert told.evidence["4"] == [1.5, None]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), complex), np.array([["a"]]), np.zeros(4), np.array([[object()]])]
)
def test_an_image_that_cannot_be_stored_spoils_nothing(path: Path, image: Any) -> None:
    with recorder(path) as r:
        number = r.exposure_intended("k", request(), DOSE, "look")
        odd = msgspec.structs.replace(frame(1), images={"HAADF": image})
        with pytest.raises(InputError, match="cannot be recorded"):
            r.exposure_done(number, odd, verdict(1))
        r.exposure_done(number, frame(1), verdict(1))


def test_a_record_that_is_there_is_not_written_over(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(InputError, match="Resume it, or choose another"):
        recorder(written)
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == ["record.h5"]


def test_two_sessions_do_not_share_a_record(written: Path) -> None:
    with recorder(written, resume=True):
        with pytest.raises(InputError, match="Another session is recording"):
            recorder(written, resume=True)
        with pytest.raises(InputError, match="Another session is recording"):
            read_record(written)
    with read_record(written) as read:
        assert len(read.sessions) == 2


def test_threads_take_turns(path: Path) -> None:
    with recorder(path) as r:
        threads = [
            threading.Thread(
                target=lambda n=n: [r.decision("rule", {"thread": n, "i": i}, "go") for i in range(20)]
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with read_record(path) as read:
        for n in range(4):
            assert [d.evidence["i"] for d in read.decisions if d.evidence["thread"] == n] == list(range(20))


def test_a_closed_record_takes_nothing(path: Path) -> None:
    r = recorder(path)
    r.close()
    r.close()
    assert r.state is RecordState.CLOSED
    for act in (lambda: r.note("late"), lambda: r.exposure_intended("k", request(), DOSE, "look")):
        with pytest.raises(RecordError, match="is closed"):
            act()


def test_any_hdf5_reader_can_read_it(written: Path) -> None:
    with h5py.File(written) as file:
        assert bytes(file.attrs["format"]) == b"stemctx-record"
        image = file["exposures/00000002/images/0_HAADF"]
        assert np.array_equal(image, frame(2).image)
        assert image.attrs["pixel_size_nm"] == pytest.approx(8 / 96)
        assert b'"kind": "decision"' in file["events/00000006"][()]
        assert not any(d.dtype.hasobject for d in _datasets(file))


def _datasets(file: Any) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    assert found
    return found


# A process that dies.

COUNT = 120


def _start(path: Path, log: Path, *what: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.realtime.exposures", str(path), str(log), *map(str, what)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment)


def _log(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_killing_the_process_at_ten_random_moments_loses_no_record_and_repeats_no_exposure(
    tmp_path: Path,
) -> None:
    path, log = tmp_path / "record.h5", tmp_path / "log"
    moments = random.Random(7)
    killed = 0
    while killed < 10:
        already = len(_log(log))
        child = _start(path, log, COUNT, COUNT // 11)
        try:
            # Past the start of Python, so that the moments fall where it records.
            wait_for(lambda already=already: len(_log(log)) > already)
            time.sleep(moments.uniform(0, 0.03))
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL
        killed += 1
        _check_record_against(path, _log(log))
    assert _start(path, log, COUNT).wait() == 0
    lines = _log(log)
    assert lines[-1] == "closed"
    exposed = [line for line in lines if line.startswith("exposed ")]
    assert len(exposed) == len(set(exposed))
    assert sum(line == "open" for line in lines) >= 10
    _check_record_against(path, lines)
    with read_record(path) as read:
        assert [e.intended.key for e in read.exposures] == [f"field-{n}" for n in range(1, COUNT + 1)]
        unfinished = [e for e in read.exposures if e.done is None]
        assert len(unfinished) <= 10
        assert len(read.exposures) - len(unfinished) >= len([li for li in lines if li.startswith("done ")])


@pytest.mark.slow  # eleven processes, each of which loads the model
@pytest.mark.timeout(1800)
def test_a_session_killed_at_ten_random_moments_repeats_no_exposure(tmp_path: Path) -> None:
    path, log = tmp_path / "record.h5", tmp_path / "log"
    moments = random.Random(11)
    for _ in range(10):
        opened = _log(log).count("open")
        child = _start(path, log, "survey", 3)
        try:
            wait_for(lambda opened=opened: _log(log).count("open") > opened, seconds=300)
            time.sleep(moments.uniform(0, 0.25))
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL
    assert _start(path, log, "survey").wait() == 0
    scanned = [line for line in _log(log) if line.startswith("{")]
    assert len(scanned) > 20
    with read_record(path) as read:
        intended = Counter(msgspec.json.encode(e.intended.request).decode() for e in read.exposures)
        unfinished = [e for e in read.exposures if e.done is None]
        assert len(read.sessions) == 11
        for exposure, told in read.results():
            assert told.frame == read.frame(exposure.number).frame
    # Every scan that the specimen saw was announced before, and announced scans are made at most once.
    assert Counter(scanned) <= intended
    assert len(scanned) >= intended.total() - len(unfinished)
    assert len(unfinished) <= 10
    fields = [e for e in intended if '"field_of_view_nm":6.0' in e]
    assert len(fields) == len(set(fields)) == 30
    assert all(intended[f] == 1 for f in fields)


def _check_record_against(path: Path, lines: list[str]) -> None:
    """Everything that the process was told is recorded is in the file, and intact."""
    with read_record(path) as read:
        intended = {e.intended.key for e in read.exposures}
        done = {e.intended.key: e.number for e in read.exposures if e.done is not None}
        decided = {d.action for d in read.decisions}
        for what, _, number in (line.partition(" ") for line in lines):
            if what == "exposed":
                assert f"field-{number}" in intended
            elif what == "done":
                entry = done[f"field-{number}"]
                assert same_frame(read.frame(entry), frame(int(number)))
                assert same_result(read.result(entry), verdict(int(number)))
            elif what == "decided":
                assert f"after {number}" in decided


def test_a_process_that_ends_without_closing_ends_well(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from realtime.autonomy.record.recorder import Recorder\n"
        "r = Recorder.open(pathlib.Path(sys.argv[1]), session={})\n"
        "r.note('here')\n"
        "sys.exit(3)\n"
    )
    path = tmp_path / "record.h5"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, b"")
    with read_record(path) as read:
        assert read.notes[0].text == "here"
        assert not any(isinstance(e, SessionEnded) for e in read.events)


# A disk that says no.


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="file size limits exist on Unix only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("more", [0, 1, 700, 5000, 20_000])
def test_a_full_disk_is_visible_and_raised(written: Path, more: int, caplog: pytest.LogCaptureFixture) -> None:
    r = recorder(written, resume=True)
    number = r.exposure_intended("k4", request(4), DOSE, "survey")
    size = written.stat().st_size
    with files_no_larger_than(size + more):
        with pytest.raises(RecordError, match="Free the disk and resume"):
            r.exposure_done(number, frame(4), verdict(4))
        assert r.state is RecordState.FAILED
        assert "no longer recorded" in r.reason
    assert "no longer recorded" in caplog.text
    # The disk has room again, but a gap in a record is not for it to hide.
    with pytest.raises(RecordError):
        r.exposure_intended("k5", request(5), DOSE, "survey")
    with pytest.raises(RecordError):
        r.load_view("k1")
    r.close()
    assert r.state is RecordState.FAILED
    with recorder(written, resume=True) as again:
        assert again.intended_keys() == {"k1", "k2", "k3", "k4"}
        view = again.load_view("k1")
        assert view is not None
        assert same_frame(view[0], frame(1))
        expose(again, 5)


def test_a_disk_without_room_for_the_intent_prevents_the_exposure(path: Path) -> None:
    r = recorder(path)
    with files_no_larger_than(path.stat().st_size), pytest.raises(RecordError):
        r.exposure_intended("k1", request(1), DOSE, "survey")
    r.close()
    with read_record(path) as read:
        assert read.exposures == ()


def test_a_disk_that_is_full_from_the_beginning(path: Path) -> None:
    with files_no_larger_than(100), pytest.raises(RecordError, match="Free the disk"):
        recorder(path)
    with recorder(path) as r:
        expose(r, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders of Unix")
def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "record.h5", tmp_path):
        with pytest.raises(InputError, match=r"cannot be written|there already"):
            recorder(place)
    if os.geteuid() == 0:
        return  # root may write anywhere
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        recorder(folder / "record.h5")


# A file that means harm.


def _read_all(path: Path) -> int:
    with read_record(path) as read:
        for exposure, result in read.results():
            assert same_frame(read.frame(exposure.number), frame(exposure.number))
            assert same_result(result, verdict(exposure.number))
        return len(read.events)


def test_damage_is_told_or_does_not_matter(written: Path, tmp_path: Path) -> None:
    whole, told = written.read_bytes(), 0
    events = _read_all(written)
    moments = random.Random(1)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(moments.choice((1, 8, 64))):
            data[moments.randrange(len(data))] = moments.randrange(256)
        damaged = tmp_path / "damaged.h5"
        damaged.write_bytes(data[: moments.choice((len(data), len(data), moments.randrange(len(data))))])
        try:
            assert _read_all(damaged) == events
        except InputError:
            told += 1
    assert told > 100


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["events"] = [1, 2]
    (tmp_path / "text.h5").write_text("not an HDF5 file at all\n" * 100)
    (tmp_path / "empty.h5").touch()
    for name in ("plain.h5", "text.h5", "empty.h5", "none.h5"):
        with pytest.raises(InputError, match=name):
            read_record(tmp_path / name)
    for name in ("plain.h5", "text.h5"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(InputError, match="not a stemctx record"):
            recorder(tmp_path / name, resume=True)
        assert (tmp_path / name).read_bytes() == before


def _external_image(file: Any, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_bytes(random.Random(0).randbytes(64 * 96 * 4))
    del file["exposures/00000001/images/0_HAADF"]
    file["exposures/00000001/images"].create_dataset(
        "0_HAADF", (64, 96), "f4", external=[(str(secret), 0, 64 * 96 * 4)]
    )


def _external_link(file: Any, folder: Path) -> None:
    shutil.copy(file.filename, folder / "other.h5")
    del file["exposures/00000001"]
    file["exposures/00000001"] = h5py.ExternalLink(str(folder / "other.h5"), "/exposures/00000002")


def _virtual(file: Any, folder: Path) -> None:
    del file["exposures/00000001/images/0_HAADF"]
    layout = h5py.VirtualLayout((64, 96), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (64, 96))
    file["exposures/00000001/images"].create_virtual_dataset("0_HAADF", layout)


def _bomb(file: Any, _: Path) -> None:
    del file["exposures/00000001/images/0_HAADF"]
    file["exposures/00000001/images"].create_dataset(
        "0_HAADF", (1 << 20, 1 << 20), "f8", chunks=(1 << 10, 1 << 10), compression="gzip"
    )


def _wide_chunk(file: Any, _: Path) -> None:
    del file["exposures/00000001/images/0_HAADF"]
    file["exposures/00000001/images"].create_dataset(
        "0_HAADF", (4, 4), "f8", chunks=(1 << 14, 1 << 14), maxshape=(None, None), compression="gzip"
    )


def _objects(file: Any, _: Path) -> None:
    del file["events/00000006"]
    file["events"].create_dataset("00000006", data="{}", dtype=h5py.string_dtype())


def _long_text(file: Any, _: Path) -> None:
    del file["events/00000006"]
    file["events"].create_dataset("00000006", data=np.bytes_(b" " * (1 << 21)))


def _deep_text(file: Any, _: Path) -> None:
    import zlib

    text = b"[" * 100_000
    del file["events/00000006"]
    file["events"].create_dataset("00000006", data=np.bytes_(text))
    file["events/00000006"].attrs["crc32"] = np.uint32(zlib.crc32(text))


def _out_of_list(file: Any, _: Path) -> None:
    best = file["exposures/00000001/result/best"]
    best[...] = np.full(best.shape, 99, best.dtype)


def _edited_text(file: Any, _: Path) -> None:
    text = file["events/00000006"][()]
    file["events/00000006"][()] = text.replace(b"zoom on k1", b"zoom on k2")


def _loop(file: Any, _: Path) -> None:
    del file["exposures/00000001"]
    file["exposures/00000001"] = file["exposures"]


def _no_events(file: Any, _: Path) -> None:
    del file["events"]


@pytest.mark.parametrize(
    "harm",
    [_external_image, _external_link, _virtual, _bomb, _wide_chunk, _objects, _long_text, _deep_text, _out_of_list,
     _edited_text, _loop, _no_events],
)  # fmt: skip
def test_a_hostile_record_is_refused_before_it_costs_anything(written: Path, tmp_path: Path, harm: Any) -> None:
    with h5py.File(written, "r+") as file:
        harm(file, tmp_path)
    with pytest.raises(InputError, match=r"record\.h5 is not a stemctx record, or is damaged"):
        _read_all(written)


def test_a_later_version_is_named(written: Path) -> None:
    with h5py.File(written, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(InputError, match="Upgrade stemctx"):
        read_record(written)


def test_kinds_of_events_are_told_apart(written: Path) -> None:
    with read_record(written) as read:
        assert isinstance(read.events[0], SessionStarted)
        assert isinstance(read.events[1], ExposureIntended)
        assert isinstance(read.events[2], ExposureDone)
