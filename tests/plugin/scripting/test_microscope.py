"""Nion's acquisition through what scripts see of a microscope, on the simulated one."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.scripting.microscope import NionMicroscope
from realtime.autonomy.limits import Stopped
from realtime.autonomy.microscope import Microscope, ScanRequest
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from stemctx_core.context import Known, Source
from stemctx_core.errors import InputError

SLOW = ScanRequest((1.0, -1.0), 4.0, (64, 64), 1e-3)


@pytest.fixture(scope="module")
def headless() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(MicroscopeSettings(probe_current_pa=1000.0, drift_nm_per_s=(0.0, 0.0))) as opened:
        # Nion adds what was left out when parameters are first set.
        opened.scan.set_current_frame_parameters(opened.frame_parameters())
        opened.scan.set_enabled_channels([0])
        yield opened


@pytest.fixture
def microscope(headless: HeadlessMicroscope) -> NionMicroscope:
    return NionMicroscope.simulated(headless)


def _as_it_is(headless: HeadlessMicroscope) -> tuple[object, ...]:
    scan = headless.scan
    return (
        scan.get_current_frame_parameters().as_dict(),
        scan.get_record_frame_parameters().as_dict(),
        list(scan.get_enabled_channel_indexes()),
        scan.probe_position,
        tuple(headless.stem_controller.GetVal2D("CSH")),
    )


def test_it_scans_what_was_asked_for(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    asked: Microscope = microscope
    context = asked.context().validated()
    assert context.high_tension_kv == Known(80.0, Source.INSTRUMENT, "control EHT")
    assert context.value("inner_mrad") == 70.0
    request = ScanRequest((3.0, -2.0), 4.0, (64, 128), 2e-6, 0.3)
    scanned = asked.scan(request)
    assert scanned.image.shape == (64, 128)
    assert scanned.image.any()
    assert scanned.frame.shape == (64, 128)
    assert scanned.frame.scan_id
    assert 0 < scanned.ended_ns - scanned.started_ns < 5e9
    assert scanned.context.value("pixel_size_angstrom") == pytest.approx(40 / 128)
    told = asked.dose_e_per_angstrom2(request)
    assert told == pytest.approx(1e-9 * 2e-6 / 1.602e-19 / (40 / 128) ** 2, rel=1e-3)
    assert scanned.context.value("dose_e_per_angstrom2") == pytest.approx(told)
    geometry = shot(microscope.metadata).geometry
    assert geometry is not None
    assert geometry.centre_nm == pytest.approx((3.0, -2.0))
    assert geometry.rotation_rad == 0.3
    again = asked.scan(request)
    assert again.frame.scan_id != scanned.frame.scan_id
    assert not np.shares_memory(again.image, scanned.image)
    assert microscope.is_blanked


def test_channels_are_recorded_together(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    assert microscope.channels == ("HAADF", "MAADF")
    enabled = list(headless.scan.get_enabled_channel_indexes())
    scanned = microscope.scan(ScanRequest((0.0, 0.0), 4.0, (32, 32), 1e-5, channels=("MAADF", "HAADF")))
    assert list(scanned.images) == ["MAADF", "HAADF"]
    assert scanned.context.value("inner_mrad") == 50.0
    assert scanned.contexts["HAADF"].value("inner_mrad") == 70.0
    assert scanned.images["MAADF"].mean() > 1.2 * scanned.images["HAADF"].mean()
    assert list(headless.scan.get_enabled_channel_indexes()) == enabled
    with pytest.raises(InputError, match=r"no channel EELS.*HAADF, MAADF"):
        microscope.scan(ScanRequest((0.0, 0.0), 4.0, (32, 32), 1e-5, channels=("EELS",)))


def test_the_beam_is_shifted(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    with microscope.kept():
        microscope.shift(2.0, -3.0)
        microscope.scan(ScanRequest((1.0, 1.0), 4.0, (32, 32), 1e-6))
        geometry = shot(microscope.metadata).geometry
        assert geometry is not None
        # What lay at (3, -2) lies at (1, 1) now.
        assert geometry.centre_nm == pytest.approx((3.0, -2.0))
    microscope.scan(ScanRequest((1.0, 1.0), 4.0, (32, 32), 1e-6))
    geometry = shot(microscope.metadata).geometry
    assert geometry is not None
    assert geometry.centre_nm == pytest.approx((1.0, 1.0))


def test_it_parks_and_blanks(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    scan = headless.scan
    scan.set_current_frame_parameters(headless.frame_parameters(fov_nm=8.0, pixel_size=(64, 64)))
    microscope.park((0.0, 2.0))
    assert (scan.probe_position.y, scan.probe_position.x) == pytest.approx((0.5, 0.75))
    with pytest.raises(InputError, match="outside the field"):
        microscope.park((0.0, 9.0))
    with microscope.kept():
        microscope.park((0.0, 9.0))
        assert tuple(scan.get_current_frame_parameters().center_nm) == (0.0, 9.0)
        assert (scan.probe_position.y, scan.probe_position.x) == pytest.approx((0.5, 0.5))
    assert tuple(scan.get_current_frame_parameters().center_nm) == (0.0, 0.0)
    microscope.unblank()
    assert not microscope.is_blanked
    microscope.blank()
    (dark,) = headless.record(pixel_size=(16, 16), pixel_time_us=1.0)
    assert not dark.data.any()


def test_without_a_blanker_the_probe_rests_in_the_corner(headless: HeadlessMicroscope) -> None:
    microscope = NionMicroscope.simulated(headless, blanker="NoSuchControl")
    headless.stem_controller.SetVal("C_Blank", 0.0)
    assert microscope.scan(ScanRequest((0.0, 0.0), 4.0, (16, 16), 1e-6)).image.any()
    assert tuple(headless.scan.probe_position) == (0.0, 0.0)


def test_kept_restores_everything_after_an_error(
    headless: HeadlessMicroscope, microscope: NionMicroscope
) -> None:
    headless.scan.start_playing(sync_timeout=60.0)
    before = _as_it_is(headless)

    class OwnError(Exception):
        pass

    def use() -> None:
        with microscope.kept():
            microscope.shift(5.0, 5.0)
            microscope.park((40.0, 0.0))
            microscope.unblank()
            headless.scan.set_enabled_channels([1])
            raise OwnError

    with pytest.raises(OwnError):
        use()
    assert _as_it_is(headless) == before
    assert microscope.is_blanked
    assert not headless.scan.is_playing


def until_it_scans(headless: HeadlessMicroscope) -> None:
    end = time.monotonic() + 60.0
    while not headless.scan.scan_device.is_scanning:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_an_abort_stops_the_scan_at_once(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    before = _as_it_is(headless)
    took: list[float] = []

    def stop() -> None:
        until_it_scans(headless)
        began = time.perf_counter()
        microscope.abort()
        while headless.scan.scan_device.is_scanning:
            time.sleep(0.001)
        took.append(time.perf_counter() - began)

    for _ in range(5):
        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(Stopped):
            microscope.scan(SLOW)
        stopper.join()
        assert microscope.is_blanked
        assert _as_it_is(headless) == before
    assert min(took) < 0.1, "a machine that has much else to do is slow now and then, and not five times"
    assert microscope.scan(ScanRequest((0.0, 0.0), 4.0, (16, 16), 1e-6)).image.any()


def test_an_abort_before_the_scan_begins_counts(microscope: NionMicroscope) -> None:
    with microscope.kept():
        microscope.abort()
        for _ in range(2):
            with pytest.raises(Stopped):
                microscope.scan(SLOW)
        with pytest.raises(Stopped):
            microscope.unblank()
    assert microscope.is_blanked


def test_the_beam_is_not_let_through_by_a_thread_that_was_slow(
    headless: HeadlessMicroscope, microscope: NionMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop between the look at the flag and the blanker's answer."""
    stem = headless.stem_controller
    really = stem.SetVal

    def slow(name: str, value: float) -> bool:
        if name == "C_Blank" and not value:
            microscope.abort()
            microscope.blank()
        return bool(really(name, value))

    with microscope.kept():
        microscope.blank()
        monkeypatch.setattr(stem, "SetVal", slow)
        with pytest.raises(Stopped):
            microscope.unblank()
        assert microscope.is_blanked


def test_ctrl_c_stops_the_scan(headless: HeadlessMicroscope, microscope: NionMicroscope) -> None:
    def press() -> None:
        until_it_scans(headless)
        _thread.interrupt_main()

    presser = threading.Thread(target=press)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), microscope.kept():  # noqa: PT012
        presser.start()
        microscope.scan(msgspec.structs.replace(SLOW, dwell_s=50 * SLOW.dwell_s))
    presser.join()
    assert time.monotonic() - began < 100.0  # the frame would take 200 s
    assert microscope.is_blanked
    assert not headless.scan.is_recording


def test_no_dose_without_a_current(headless: HeadlessMicroscope) -> None:
    reader = ContextReader(None, "WSe2", ("V",))
    microscope = NionMicroscope(headless.scan, headless.stem_controller, reader)
    with pytest.raises(InputError, match=r"no control gives the beam current.*no limit could be held"):
        microscope.dose_e_per_angstrom2(SLOW)


def test_the_microscope_of_the_process_is_found(headless: HeadlessMicroscope) -> None:
    microscope = NionMicroscope.running("WSe2", ("V",))
    assert microscope.channels == ("HAADF", "MAADF")
    assert microscope.context().host == "WSe2"
