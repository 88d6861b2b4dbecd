"""Exposures with known content, and a process that records them until it is killed.

``python -m tests.realtime.exposures RECORD LOG COUNT`` exposes what the record does not hold yet; with ``survey`` for
COUNT a whole session does, by its policy. The log stands for the specimen: what was done to it is there even where the
process dies in the next instant. A number after COUNT is how many exposures it makes before it waits to be killed.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.autonomy.record.recorder import Recorder
from stemctx_core.results import FrameIdentity, FrameResult
from tests.realtime.support import context, refused, result

DOSE = 1.5e4


def request(number: int = 1, channels: tuple[str, ...] = ("HAADF",)) -> ScanRequest:
    return ScanRequest((0.5 * number, -2.0), 8.0, (64, 96), 1e-6, 0.1, channels)


def frame(number: int = 1, channels: tuple[str, ...] = ("HAADF",)) -> ScannedFrame:
    rng = np.random.default_rng(number)
    asked = request(number, channels)
    images = {c: rng.poisson(9, asked.shape).astype(np.float32) for c in channels}
    identity = FrameIdentity(f"scan-{number}", number, 64, asked.shape)
    return ScannedFrame(
        images, {c: context() for c in channels}, identity, asked, 10**9 * number, 10**9 * number + 7
    )


def verdict(number: int = 1) -> FrameResult:
    return refused() if number % 7 == 0 else result(20 + number, frame=frame(number).frame, seed=number)


def same_result(one: FrameResult, other: FrameResult) -> bool:
    columns = ("y_px", "x_px", "sublattice", "posterior", "best", "decision", "reason")
    tables = all(
        np.array_equal(getattr(one.sites, c), getattr(other.sites, c))
        and getattr(one.sites, c).dtype == getattr(other.sites, c).dtype
        for c in columns
    )
    names = ("frame", "context", "candidates", "reasons", "refusal", "warnings", "calibration", "engine", "model",
             "timing_ms", "frames_accumulated")  # fmt: skip
    return tables and all(getattr(one, n) == getattr(other, n) for n in names)


def same_frame(one: ScannedFrame, other: ScannedFrame) -> bool:
    names = ("contexts", "frame", "request", "started_ns", "ended_ns")
    return (
        list(one.images) == list(other.images)
        and all(np.array_equal(one.images[c], other.images[c], equal_nan=True) for c in one.images)
        and all(one.images[c].dtype == other.images[c].dtype for c in one.images)
        and all(getattr(one, n) == getattr(other, n) for n in names)
    )


class Bounded:
    """Goes on so many times, and then waits for its end, so that nobody who is slow to kill comes too late."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._done = itertools.count(1)

    def one_more(self) -> None:
        while next(self._done) > self._most:
            time.sleep(3600.0)


def survey(path: Path, said: int, bounded: Bounded) -> None:
    from realtime.autonomy.policies import Area, FieldScan, Revisit, confirm
    from realtime.autonomy.session import Session
    from sim.specimen import Specimen
    from stemctx_core.analysis import FrameAnalyzer
    from tests.realtime.rendered import RenderedMicroscope

    class Logged(RenderedMicroscope):
        def scan(self, request: ScanRequest) -> ScannedFrame:
            bounded.one_more()
            os.write(said, msgspec.json.encode(request) + b"\n")
            return super().scan(request)

    microscope = Logged(Specimen("WSe2", "V", seed=5))
    with (
        Recorder.open(path, session={"script": "survey"}, resume=True) as recorder,
        Session(microscope, FrameAnalyzer.shipped(), record=recorder, clock=microscope.clock) as session,
    ):
        os.write(said, b"open\n")
        confirm(
            session, Area(size_nm=(20.0, 25.0)), species=("V_W",), revisit=Revisit(),
            scan=FieldScan(dose_e_per_angstrom2=2500.0, field_of_view_nm=6.0, pixels=200),
        )  # fmt: skip
    os.write(said, b"closed\n")


def main() -> None:
    path, log = Path(sys.argv[1]), sys.argv[2]
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    bounded = Bounded(float(sys.argv[4]) if len(sys.argv) > 4 else float("inf"))
    if sys.argv[3] == "survey":
        survey(path, said, bounded)
        return
    count = int(sys.argv[3])
    with Recorder.open(path, session={"script": "crash"}, resume=True) as recorder:
        os.write(said, b"open\n")
        for number in range(1, count + 1):
            key = f"field-{number}"
            if key in recorder.intended_keys():
                continue
            bounded.one_more()
            entry = recorder.exposure_intended(key, request(number), DOSE, "survey")
            os.write(said, f"exposed {number}\n".encode())
            recorder.exposure_done(entry, frame(number), verdict(number))
            os.write(said, f"done {number}\n".encode())
            recorder.decision("next", {"field": number}, f"after {number}")
            os.write(said, f"decided {number}\n".encode())
    os.write(said, b"closed\n")


if __name__ == "__main__":
    main()
