"""The tap on Nion's own acquisition: what it hands over, and that it never harms the scan."""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from nion.data import DataAndMetadata
from nion.instrumentation import HardwareSource
from numpy.typing import NDArray

from nionswift_plugin.stemctx.service.tap import FrameTap
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from tests.plugin.swift import PATIENCE_S

QUICK = MicroscopeSettings(size=(128, 128), fov_nm=2.5, dwell_us=2.0)


@pytest.fixture
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(QUICK) as opened:
        yield opened


class Collector:
    """Keeps what came, and waits for what is to come."""

    def __init__(self) -> None:
        self.frames: list[TappedFrame] = []
        self._came = threading.Condition()

    def __call__(self, frame: TappedFrame) -> None:
        with self._came:
            self.frames.append(frame)
            self._came.notify_all()

    def wait(self, what: Callable[[list[TappedFrame]], bool], timeout_s: float = PATIENCE_S) -> None:
        with self._came:
            assert self._came.wait_for(lambda: what(self.frames), timeout_s), (
                f"only {len(self.frames)} frames came"
            )


def whole(frames: list[TappedFrame]) -> list[TappedFrame]:
    return [f for f in frames if f.complete]


def play(scan: Any, **changes: Any) -> None:
    parameters = scan.get_current_frame_parameters()
    for name, value in changes.items():
        setattr(parameters, name, value)
    scan.set_current_frame_parameters(parameters)
    scan.start_playing(sync_timeout=60.0)


def test_whole_frames_come_with_what_belongs_to_them(microscope: HeadlessMicroscope) -> None:
    collector = Collector()
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        play(microscope.scan, pixel_size=(128, 128), fov_nm=2.5, pixel_time_us=2.0)
        collector.wait(lambda frames: len(whole(frames)) >= 2)
        microscope.scan.stop_playing(sync_timeout=60.0)
    finally:
        tap.close()
    first, second = whole(collector.frames)[:2]
    assert first.data.shape == first.shape == (128, 128)
    assert first.valid_rows == 128
    assert first.pixel_size_nm == pytest.approx((2.5 / 128, 2.5 / 128))
    assert first.channel_name == "HAADF"
    assert first.data_channel_id == microscope.scan.get_channel_id(0)
    assert first.scan_id
    assert first.scan_id != second.scan_id
    assert first.field == second.field
    assert first.received_ns < second.received_ns
    assert first.metadata["instrument"]["high_tension"] == pytest.approx(80e3)


def test_a_frame_that_was_handed_over_never_changes(microscope: HeadlessMicroscope) -> None:
    """The array of Nion's event is a buffer that the next frame overwrites."""
    collector = Collector()
    seen: list[tuple[Any, Any]] = []

    def keep(args: Any, xdata: Any) -> None:
        if args.state == "complete":
            seen.append((xdata.data, xdata.data.copy()))

    listener = microscope.scan.data_channel_updated_event.listen(keep)
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        play(microscope.scan, pixel_size=(256, 256), fov_nm=5.0, pixel_time_us=4.0)
        collector.wait(lambda frames: len(whole(frames)) >= 1)
        first = whole(collector.frames)[0]
        copy = first.data.copy()
        collector.wait(lambda frames: len(whole(frames)) >= 3)
    finally:
        microscope.scan.abort_playing(sync_timeout=60.0)
        tap.close()
        listener = None  # noqa: F841  # dropping it is how one stops listening
    assert not np.array_equal(*seen[0]), (
        "Nion no longer overwrites its buffer: this test proves nothing any more"
    )
    assert np.array_equal(first.data, copy)
    assert np.array_equal(first.data, seen[0][1])


def test_fault_44_partial_frames_bring_only_their_own_rows(microscope: HeadlessMicroscope) -> None:
    """Rows below the valid ones are of the frame before."""
    collector = Collector()
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        play(microscope.scan, pixel_size=(256, 256), fov_nm=5.0, pixel_time_us=8.0)
        collector.wait(lambda frames: len(whole(frames)) >= 2 and any(not f.complete for f in frames))
    finally:
        microscope.scan.abort_playing(sync_timeout=60.0)
        tap.close()
    whole_of = {f.scan_id: f for f in whole(collector.frames)}
    parts = [f for f in collector.frames if not f.complete and f.scan_id in whole_of]
    assert parts
    for part in parts:
        assert part.data.shape == (part.valid_rows, 256)
        assert part.shape == (256, 256)
        assert np.array_equal(part.data, whole_of[part.scan_id].data[: part.valid_rows])


class Device:
    """What a scan device sends: one buffer that every frame overwrites from the top."""

    def __init__(self, microscope: HeadlessMicroscope, shape: tuple[int, int]) -> None:
        self._scan, self.buffer = microscope.scan, np.zeros(shape, np.float32)

    def send(self, frame: NDArray[np.float32], scan_id: str, rows: int, state: str = "partial") -> None:
        self.buffer[:rows] = frame[:rows]
        xdata = DataAndMetadata.new_data_and_metadata(
            self.buffer, metadata={"scan": {"scan_id": scan_id, "valid_rows": rows}}
        )
        channel = self._scan.get_channel_id(0)
        args = HardwareSource.DataChannelEventArgs(
            channel, channel, "HAADF", data_channel_state="", state=state
        )
        self._scan.data_channel_updated_event.fire(args, xdata)


def frame_with_defect(row: int, seed: int) -> NDArray[np.float32]:
    frame = np.random.default_rng(seed).poisson(100, (64, 48)).astype(np.float32)
    frame[row, 24] = 1e4
    return frame


def test_fault_44_a_defect_that_moved_is_in_the_rows_of_its_own_frame_only(
    microscope: HeadlessMicroscope,
) -> None:
    old, new = frame_with_defect(50, 1), frame_with_defect(20, 2)
    collector, device = Collector(), Device(microscope, old.shape)
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        for frame, scan_id in ((old, "1"), (new, "2")):
            for rows in (10, 30, 40, 64):
                count = len(collector.frames)
                device.send(frame, scan_id, rows, "complete" if rows == 64 else "partial")
                collector.wait(lambda frames, count=count: len(frames) > count)
    finally:
        tap.close()
    assert [f.valid_rows for f in collector.frames] == [10, 30, 40, 64] * 2
    for tapped in collector.frames:
        own = {"1": old, "": old, "2": new}[tapped.scan_id]
        assert np.array_equal(tapped.data, own[: tapped.valid_rows])
    # In the buffer itself both stood while the second frame was scanned.
    late = collector.frames[6]
    assert np.argwhere(late.data == 1e4).tolist() == [[20, 24]]


def test_rows_of_one_frame_are_copied_once(microscope: HeadlessMicroscope) -> None:
    frame = frame_with_defect(5, 3)
    collector, device = Collector(), Device(microscope, frame.shape)
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        for rows in (16, 32, 64):
            count = len(collector.frames)
            device.send(frame, "1", rows, "complete" if rows == 64 else "partial")
            collector.wait(lambda frames, count=count: len(frames) > count)
    finally:
        tap.close()
    first, second, third = (f.data for f in collector.frames)
    assert np.shares_memory(first, second)
    assert np.shares_memory(second, third)
    assert not np.shares_memory(third, device.buffer)


@pytest.mark.parametrize("aborted", [True, False])
def test_fault_43_rows_of_a_frame_that_was_never_whole_do_not_get_into_the_next(
    microscope: HeadlessMicroscope, aborted: bool
) -> None:
    """Where the next frame is so short that it comes whole at once."""
    broken, quick = frame_with_defect(5, 4), frame_with_defect(40, 5)
    collector, device = Collector(), Device(microscope, broken.shape)
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        device.send(broken, "1", 30)
        collector.wait(lambda frames: len(frames) == 1)
        if aborted:
            microscope.scan.abort_event.fire()
        device.send(quick, "2", 64, "complete")
        collector.wait(lambda frames: len(frames) == 2)
    finally:
        tap.close()
    assert np.array_equal(collector.frames[1].data, quick)
    assert np.array_equal(collector.frames[0].data, broken[:30])


def test_frames_without_a_name_are_copied_anew(microscope: HeadlessMicroscope) -> None:
    old, new = frame_with_defect(5, 6), frame_with_defect(40, 7)
    collector, device = Collector(), Device(microscope, old.shape)
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        device.send(old, "", 20)
        collector.wait(lambda frames: len(frames) == 1)
        device.send(new, "", 30)
        collector.wait(lambda frames: len(frames) == 2)
    finally:
        tap.close()
    assert np.array_equal(collector.frames[0].data, old[:20])
    assert np.array_equal(collector.frames[1].data, new[:30])


def test_fault_46_a_subscan_has_its_own_channel_and_pixel_size(microscope: HeadlessMicroscope) -> None:
    """Its metadata still tell the field of view of the context scan."""
    collector = Collector()
    tap = FrameTap(microscope.scan, 0, collector)
    try:
        microscope.record(
            pixel_size=(128, 128),
            fov_nm=5.0,
            subscan_pixel_size=(64, 64),
            subscan_fractional_size=(0.25, 0.25),
            subscan_fractional_center=(0.4, 0.6),
        )
        collector.wait(lambda frames: len(whole(frames)) >= 1)
    finally:
        tap.close()
    frame = whole(collector.frames)[0]
    assert frame.shape == (64, 64)
    assert frame.data_channel_id.endswith("_subscan")
    assert frame.channel_name == "HAADF"
    assert frame.pixel_size_nm == pytest.approx((1.25 / 64, 1.25 / 64))
    assert frame.metadata["scan"]["fov_nm"] == pytest.approx(5.0)


def test_only_the_channel_that_was_asked_for(microscope: HeadlessMicroscope) -> None:
    collector = Collector()
    tap = FrameTap(microscope.scan, 1, collector)
    try:
        microscope.record(enabled_channel_indexes=(0, 1))
        collector.wait(lambda frames: len(whole(frames)) >= 1)
        time.sleep(0.1)
    finally:
        tap.close()
    assert {f.channel_name for f in collector.frames} == {"MAADF"}


def test_fault_55_what_on_frame_raises_never_reaches_the_acquisition(
    microscope: HeadlessMicroscope, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = Collector()
    later: list[str] = []

    def fail(frame: TappedFrame) -> None:
        calls(frame)
        raise RuntimeError("on purpose")

    began = time.monotonic()
    tap = FrameTap(microscope.scan, 0, fail)
    listener = microscope.scan.data_channel_updated_event.listen(lambda args, _: later.append(args.state))
    try:
        with caplog.at_level(logging.ERROR):
            play(microscope.scan, pixel_size=(128, 128), fov_nm=2.5, pixel_time_us=2.0)
            calls.wait(lambda frames: len(whole(frames)) >= 3)
            microscope.scan.stop_playing(sync_timeout=60.0)
    finally:
        tap.close()
        listener = None  # noqa: F841
    assert later.count("complete") >= 3, "listeners behind ours got no frames"
    assert tap.errors >= 3
    told = sum("the scan goes on" in r.getMessage() for r in caplog.records)
    assert 1 <= told <= 1 + (time.monotonic() - began) / 10.0, "the log is not limited"
    assert "Event Fire Traceback" not in capfd.readouterr().err, "Nion's events saw it"


def test_fault_55_an_event_that_cannot_be_read_does_not_raise(microscope: HeadlessMicroscope) -> None:
    """In the callback itself: whatever a device sends."""
    tap = FrameTap(microscope.scan, 0, Collector())
    try:
        tap._updated(object(), object())
        assert tap.errors == 1
    finally:
        tap.close()


def test_the_callback_takes_under_a_millisecond_at_512(microscope: HeadlessMicroscope) -> None:
    collector = Collector()
    tap = FrameTap(microscope.scan, 0, collector)
    times_ms: list[float] = []
    # Listeners are called in the order they came, so ours has just run when this one does.
    listener = microscope.scan.data_channel_updated_event.listen(
        lambda *_: times_ms.append(tap.callback_ns[1] / 1e6)
    )
    try:
        play(microscope.scan, pixel_size=(512, 512), fov_nm=10.0, pixel_time_us=1.0)
        collector.wait(lambda frames: len(whole(frames)) >= 6)
    finally:
        microscope.scan.abort_playing(sync_timeout=60.0)
        tap.close()
        listener = None  # noqa: F841
    data = whole(collector.frames)[0].data
    copies_ms = []
    for _ in range(20):
        start = time.thread_time_ns()
        np.array(data, copy=True)
        copies_ms.append((time.thread_time_ns() - start) / 1e6)
    # A millisecond of computing, or on a slow machine, a few bare copies of the frame.
    assert statistics.median(times_ms) <= max(1.0, 4 * statistics.median(copies_ms))


def test_new_rows_of_a_large_frame_cost_no_more_than_a_small_one(microscope: HeadlessMicroscope) -> None:
    large = np.ones((2048, 2048), np.float32)
    device, tap = Device(microscope, large.shape), FrameTap(microscope.scan, 0, Collector())
    times_ms = []
    try:
        for rows in range(64, 2048, 64):
            device.send(large, "1", rows)
            times_ms.append(tap.callback_ns[1] / 1e6)
        copies_ms = []
        for _ in range(5):
            start = time.thread_time_ns()
            np.array(large, copy=True)
            copies_ms.append((time.thread_time_ns() - start) / 1e6)
    finally:
        tap.close()
    assert statistics.median(times_ms) < statistics.median(copies_ms) / 2


def test_a_slow_receiver_gets_the_newest_frame_and_never_holds_the_scan(microscope: HeadlessMicroscope) -> None:
    collector = Collector()
    go_on = threading.Event()

    def slow(frame: TappedFrame) -> None:
        collector(frame)
        go_on.wait(PATIENCE_S)

    passes: list[str] = []
    listener = microscope.scan.data_channel_updated_event.listen(
        lambda args, xdata: (
            passes.append(xdata.metadata["scan"]["scan_id"]) if args.state == "complete" else None
        )
    )
    tap = FrameTap(microscope.scan, 0, slow)
    try:
        play(microscope.scan, pixel_size=(64, 64), fov_nm=2.0, pixel_time_us=1.0)
        deadline = time.monotonic() + PATIENCE_S / 2
        while len(passes) < 6 and time.monotonic() < deadline:
            time.sleep(0.02)
        microscope.scan.abort_playing(sync_timeout=60.0)
        assert len(passes) >= 6, "the scan waited for the receiver"
        go_on.set()
        collector.wait(lambda frames: len(whole(frames)) >= 2)
    finally:
        go_on.set()
        tap.close()
        listener = None  # noqa: F841
    assert whole(collector.frames)[-1].scan_id == passes[-1]
    assert tap.replaced >= 3


def test_close_leaves_no_listener_and_no_thread(microscope: HeadlessMicroscope) -> None:
    events = (microscope.scan.data_channel_updated_event, microscope.scan.abort_event)
    before = [event.listener_count for event in events]
    tap = FrameTap(microscope.scan, 0, Collector())
    assert [event.listener_count for event in events] == [n + 1 for n in before]
    tap.close()
    tap.close()
    assert [event.listener_count for event in events] == before
    assert not any(t.name == "stemctx-tap" for t in threading.enumerate())
