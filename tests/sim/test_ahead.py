"""Frames rendered by a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.ahead import FrameJob, RenderAhead
from sim.crystal import Crystal
from sim.exposure import BeamHistory
from sim.generator import FrameGenerator
from sim.geometry import ScanArea
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from sim.specimen import Specimen
from stemctx_core.simulation.optics import Optics

HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
SLOW = MicroscopeSettings(size=(256, 256), fov_nm=6.0, dwell_us=6.0, probe_current_pa=300.0)


@pytest.fixture
def renderer() -> Iterator[RenderAhead]:
    ahead = RenderAhead()
    yield ahead
    ahead.close()


def _job(number: int = 1, size: int = 192, optics: Optics = HAADF) -> FrameJob:
    generator = FrameGenerator(Specimen(seed=3))
    crystal = Crystal(generator, BeamHistory(generator.specimen))
    return FrameJob(number, ScanArea((size, size), 6.0).geometry(), ((0, optics),), 1e5, crystal)


def test_rows_come_from_the_top_and_the_next_frame_is_there_before_it_is_asked_for(
    renderer: RenderAhead,
) -> None:
    job = _job()
    following = replace(job, frame_number=2)
    picture = renderer.begin(job, lambda: following)
    picture.wait(64)
    assert picture.pixels(0)[:64].any(axis=1).all()
    picture.wait(192)
    assert picture.pixels(0).any(axis=1).all()
    assert not picture.pixels(1).any(), "nobody asked for that channel"
    deadline = time.monotonic() + 60
    while renderer._ahead is None or not renderer._ahead.is_over:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    ahead = renderer._ahead
    assert renderer.begin(replace(job, frame_number=2)) is ahead, "an equal job is that frame"
    assert not np.array_equal(ahead.pixels(0), picture.pixels(0))


def test_a_next_frame_that_comes_otherwise_is_dropped(renderer: RenderAhead) -> None:
    job = _job()
    first = renderer.begin(job, lambda: replace(job, frame_number=2))
    first.wait(192)
    brighter = replace(job, frame_number=2, dose_e_per_angstrom2=1e6)
    picture = renderer.begin(brighter)
    picture.wait(192)
    assert picture.job == brighter
    assert picture.pixels(0).mean() > 5 * first.pixels(0).mean()


def test_what_goes_wrong_is_said_and_the_thread_goes_on(renderer: RenderAhead) -> None:
    failed = renderer.begin(_job(optics=replace(HAADF, high_tension_kv=150.0)))
    failed.wait(192)
    assert "not 150 kV" in failed.error
    assert not failed.pixels(0).any()

    def broken() -> FrameJob:
        raise RuntimeError("no next frame")

    good = renderer.begin(_job(), broken)
    good.wait(192)
    assert not good.error
    again = renderer.begin(_job(3))
    again.wait(192)
    assert again.pixels(0).any()


def test_closed_it_leaves_no_thread_and_nobody_waits() -> None:
    renderer = RenderAhead()
    waiting = renderer.begin(_job(size=1024))
    renderer.close()
    waiting.wait(1024)
    assert waiting.is_over
    renderer.close()
    renderer.begin(_job(2)).wait(192)
    assert not any(t.name == "stemctx-render" for t in threading.enumerate())


def test_rows_arrive_in_steps_while_the_beam_scans_and_are_those_of_the_frame() -> None:
    """As on hardware: several parts of every frame, rows growing, no row handed out before it was rendered."""
    with HeadlessMicroscope(SLOW) as microscope:
        scan = microscope.scan
        parts: list[tuple[int, int, str]] = []
        frames: list[tuple[int, np.ndarray]] = []
        early: list[str] = []
        handed: dict[int, np.ndarray] = {}

        def updated(args: Any, xdata: Any) -> None:
            rows, number = xdata.metadata["scan"]["valid_rows"], shot(xdata.metadata).frame_number
            if not xdata.data[:rows].any(axis=1).all():
                early.append(f"frame {number}: empty rows above {rows}")
            parts.append((number, rows, args.state))
            if args.state == "complete":
                frames.append((number, xdata.data.copy()))
            else:
                handed[number] = xdata.data[:rows].copy()

        listener = scan.data_channel_updated_event.listen(updated)
        scan.start_playing(sync_timeout=60.0)
        for _ in range(4):
            scan.get_next_xdatas_to_finish(timeout=60)
        scan.stop_playing(sync_timeout=60.0)
        listener.close()
    assert not early
    numbers = sorted({n for n, _, _ in parts})
    for number in numbers[1:3]:
        rows = [r for n, r, state in parts if n == number and state == "partial"]
        assert len(rows) >= 3
        assert rows == sorted(rows)
    for number, frame in frames:
        if number in handed:
            np.testing.assert_array_equal(frame[: len(handed[number])], handed[number])


def test_rendering_takes_little_of_the_acquisition_thread() -> None:
    """What the acquisition thread does between two parts is copying: the rendering is on another thread."""
    with HeadlessMicroscope(SLOW) as microscope:
        device, scan = microscope.stem_controller.scan_controller.scan_device, microscope.scan
        spent: list[float] = []
        read = device.read_partial

        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            try:
                return read(*arguments)
            finally:
                spent.append(time.thread_time() - start)

        device.read_partial = timed
        begun = time.thread_time()
        microscope.stem_controller.generator.counts(
            ScanArea((256, 256), 6.0).geometry(), HAADF, 1e5
        )  # what a frame costs
        cost = time.thread_time() - begun
        scan.start_playing(sync_timeout=60.0)
        for _ in range(4):
            scan.get_next_xdatas_to_finish(timeout=60)
        scan.abort_playing(sync_timeout=60.0)
        assert np.median(spent) < 0.2 * cost
