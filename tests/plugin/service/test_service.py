"""The live service without a window, on Nion's own acquisition and a real server process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from nionswift_plugin.stemctx.service.live_service import LiveService
from nionswift_plugin.stemctx.service.status import FlagAge, LiveSettings, LiveState, LiveStatus
from realtime.client.supervisor import LocalServer
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.results import FrameResult
from tests.plugin.swift import PATIENCE_S

SETTINGS = LiveSettings(host="WSe2", dopants=("V",))


@pytest.fixture
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(MicroscopeSettings(size=(256, 256), fov_nm=5.0)) as opened:
        yield opened


def wait(until: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_results_come_with_context_latency_and_states(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    results: list[tuple[FrameResult, float]] = []
    states: list[LiveStatus] = []
    service = LiveService(
        microscope.scan,
        microscope.stem_controller,
        SETTINGS,
        address=server_address,
        on_result=lambda result, latency_ms: results.append((result, latency_ms)),
        on_state=states.append,
    )
    with service:
        service.wait_started(300.0)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: len(results) >= 2)
        seen: list[LiveStatus] = []

        def keeps_up() -> bool:  # now and then at least, where the machine has much else to do
            seen.append(service.status)
            return seen[-1].flags is FlagAge.FRESH

        wait(keeps_up)
        status = seen[-1]
        assert status.state is LiveState.LIVE
        assert status.scanned >= status.answered >= 2
        assert status.model
        assert status.engine
        result, latency_ms = results[-1]
        assert 0 < latency_ms < 1e3 * PATIENCE_S
        assert result.refusal is None
        assert result.context.value("high_tension_kv") == pytest.approx(80.0)
        assert result.context.channel == "HAADF"
        assert result.frame.shape == (256, 256)
        origin = service.origin(result.frame)
        assert origin is not None
        assert origin.hardware_source_id == microscope.scan.hardware_source_id
        service.stop()
        assert service.status.state is LiveState.OFF
        assert service.status.flags is FlagAge.GONE
        assert service.status.scanned >= status.scanned, "what was counted still stands there"
    assert states[0].state is LiveState.CONNECTING
    assert LiveState.LIVE in {s.state for s in states}


def test_rows_are_judged_while_they_arrive_and_no_whole_frame_is_lost_for_them(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    results: list[FrameResult] = []
    before: list[FrameResult | None] = []

    def came(result: FrameResult, latency_ms: float) -> None:
        before.append(service.before(result.frame))
        results.append(result)

    service = LiveService(
        microscope.scan,
        microscope.stem_controller,
        replace(SETTINGS, partial_frames=True),
        address=server_address,
        on_result=came,
    )
    with service:
        service.wait_started(300.0)
        parameters = microscope.scan.get_current_frame_parameters()
        parameters.pixel_size, parameters.fov_nm, parameters.pixel_time_us = (
            (256, 256),
            5.0,
            60.0,
        )  # 4 s a frame
        microscope.scan.set_current_frame_parameters(parameters)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: sum(r.frame.valid_rows == 256 for r in results) >= 2)
        status = service.status
    whole = [r for r in results if r.frame.valid_rows == 256]
    rows = [r for r in results if r.frame.valid_rows < 256]
    assert rows
    assert all(r.refusal is None for r in whole)
    assert status.scanned - len(whole) <= 1, "a whole frame was replaced by rows of the next"
    for result, earlier in zip(results, before, strict=True):
        if earlier is not None:
            assert earlier.frame.valid_rows == 256
            assert earlier.frame.scan_id != result.frame.scan_id
    second = [b for r, b in zip(results, before, strict=True) if r.frame.scan_id == whole[1].frame.scan_id]
    assert second[0] is whole[0], "its first rows are shown with what was before them"
    for scan_id in {r.frame.scan_id for r in results}:
        counts = [r.frame.valid_rows for r in results if r.frame.scan_id == scan_id]
        assert counts == sorted(counts)


def test_a_server_of_its_own_ends_with_it(microscope: HeadlessMicroscope) -> None:
    results: list[FrameResult] = []
    service = LiveService(
        microscope.scan, microscope.stem_controller, SETTINGS, on_result=lambda r, _: results.append(r)
    )
    with service:
        assert service.wait_started(300.0).state is not LiveState.FAILED
        server = service.own_server.process
        assert isinstance(server, LocalServer)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: results)
        first = server.pid
        service.stop()
        service.start()
        service.wait_started(300.0)
        assert server.pid == first, "the server was started anew"
    assert server.pid is None


def test_closing_while_the_server_starts_does_not_wait_for_it(microscope: HeadlessMicroscope) -> None:
    before = set(threading.enumerate())
    service = LiveService(microscope.scan, microscope.stem_controller, SETTINGS)
    service.start()
    time.sleep(0.3)
    start = time.monotonic()
    service.close()
    assert time.monotonic() - start < PATIENCE_S / 2
    wait(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (replace(SETTINGS, host="WSe3"), "There is no host 'WSe3'"),
        (replace(SETTINGS, dopants=("W",)), "metal of WSe2"),
    ],
)
def test_what_cannot_be_judged_is_said_before_anything_starts(
    microscope: HeadlessMicroscope, settings: LiveSettings, said: str
) -> None:
    with LiveService(microscope.scan, microscope.stem_controller, settings) as service:
        status = service.wait_started(300.0)
        assert status.state is LiveState.FAILED
        assert said in status.reason
        assert service.own_server.process is None


def test_fault_48_an_energy_outside_the_library_is_refused_in_words(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    """The context is read anew for every frame."""
    results: list[FrameResult] = []
    with LiveService(
        microscope.scan,
        microscope.stem_controller,
        SETTINGS,
        address=server_address,
        on_result=lambda r, _: results.append(r),
    ) as service:
        service.wait_started(300.0)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: results and results[-1].refusal is None)
        microscope.stem_controller.SetVal("EHT", 150e3)
        wait(lambda: results[-1].refusal is not None)
        refused = results[-1]
        assert refused.context.value("high_tension_kv") == pytest.approx(150.0)
        wait(lambda: service.status.state is LiveState.REFUSING)
        assert service.status.reason
        microscope.stem_controller.SetVal("EHT", 80e3)
        wait(lambda: results[-1].refusal is None)
        wait(lambda: service.status.state is LiveState.LIVE)


def test_a_host_that_is_not_the_one_scanned_is_refused_in_words(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    results: list[FrameResult] = []
    with LiveService(
        microscope.scan,
        microscope.stem_controller,
        replace(SETTINGS, host="MoS2"),
        address=server_address,
        on_result=lambda r, _: results.append(r),
    ) as service:
        service.wait_started(300.0)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: results and service.status.state is LiveState.REFUSING)
        assert "does not look like MoS2" in service.status.reason
        assert "WSe2 fits better" in service.status.reason
        service.configure(SETTINGS)
        wait(lambda: results[-1].refusal is None and service.status.state is LiveState.LIVE)


def test_a_listener_that_raises_stops_nothing(microscope: HeadlessMicroscope, server_address: str) -> None:
    calls: list[FrameResult] = []

    def fail(result: FrameResult, latency_ms: float) -> None:
        calls.append(result)
        raise RuntimeError("on purpose")

    with LiveService(
        microscope.scan, microscope.stem_controller, SETTINGS, address=server_address, on_result=fail
    ) as service:
        service.wait_started(300.0)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: len(calls) >= 2)


def test_partial_frames_are_judged_while_their_rows_arrive(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    results: list[FrameResult] = []
    with LiveService(
        microscope.scan,
        microscope.stem_controller,
        replace(SETTINGS, partial_frames=True),
        address=server_address,
        on_result=lambda r, _: results.append(r),
    ) as service:
        service.wait_started(300.0)
        parameters = microscope.frame_parameters(pixel_time_us=40.0)
        microscope.scan.set_current_frame_parameters(parameters)
        microscope.scan.start_playing(sync_timeout=60.0)
        wait(lambda: any(r.refusal is None and 0 < r.frame.valid_rows < 256 for r in results))
        part = next(r for r in results if r.refusal is None and r.frame.valid_rows < 256)
        assert float(part.sites.y_px.max()) < part.frame.valid_rows
