"""Faults 43 to 56 that more than one part has to survive: the instrument changes while frames are judged.

Those of one part stand beside it: 43, 44, 46 and 55 in test_tap.py, 48 in test_service.py, 53 in test_live_flags.py,
54 in test_plug_in.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nion.swift.model import PlugInManager
from nion.utils import Registry

from nionswift_plugin.stemctx.service.live_service import LiveService
from nionswift_plugin.stemctx.service.passes import is_whole
from nionswift_plugin.stemctx.service.status import FrameOrigin, LiveState
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.results import FrameResult
from tests.plugin.service.test_live_flags import drawn, flags_graphics
from tests.plugin.service.test_service import SETTINGS, wait
from tests.plugin.swift import Swift, load, swift


@pytest.fixture
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(MicroscopeSettings(size=(256, 256), fov_nm=5.0)) as opened:
        yield opened


class Judged:
    """A live service, and what it shows."""

    def __init__(
        self, microscope: HeadlessMicroscope, address: str, controller: Any = None, **settings: Any
    ) -> None:
        self.results: list[FrameResult] = []
        self.origins: list[FrameOrigin | None] = []
        self.scan = microscope.scan
        self.service = LiveService(
            microscope.scan,
            controller or microscope.stem_controller,
            replace(SETTINGS, **settings),
            address=address,
            on_result=self._came,
        )

    def _came(self, result: FrameResult, _: float) -> None:
        self.origins.append(self.service.origin(result.frame))
        self.results.append(result)

    def __enter__(self) -> Judged:
        self.service.start()
        self.service.wait_started(300.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.scan.abort_playing(sync_timeout=60.0)
        self.service.close()

    def play(self, **changes: Any) -> None:
        parameters = self.scan.get_current_frame_parameters()
        for name, value in changes.items():
            setattr(parameters, name, value)
        self.scan.set_current_frame_parameters(parameters)
        if not self.scan.is_playing:
            self.scan.start_playing(sync_timeout=60.0)


def test_fault_43_rows_of_an_aborted_frame_leave_nothing_on_the_next(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    with Judged(microscope, server_address, partial_frames=True) as judged:
        judged.play(pixel_time_us=30.0)
        wait(lambda: any(r.frame.valid_rows < 256 for r in judged.results))
        judged.scan.abort_playing(sync_timeout=60.0)
        aborted = judged.results[-1].frame.scan_id
        before = len(judged.results)
        judged.play(pixel_time_us=4.0, center_nm=(20.0, 5.0))
        wait(
            lambda: any(r.frame.valid_rows == 256 and r.refusal is None for r in judged.results[before:]),
        )
        told = [r.frame.scan_id for r in judged.results[before:]]
        # What was under way may still come; once the next frame is shown, it may not.
        new = next(k for k, scan_id in enumerate(told) if scan_id != aborted)
        assert aborted not in told[new:]


def test_fault_45_a_channel_that_is_switched_off_is_said_and_comes_back(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    s.scan.set_channel_enabled(1, True)
    s.scan.set_channel_enabled(0, False)
    s.pump(lambda: "switched off" in plug_in.model.reason.value)
    assert plug_in.model.state.value == LiveState.STALE.value
    answered = plug_in.service.status.answered
    s.scan.set_channel_enabled(0, True)
    s.pump(lambda: plug_in.service.status.answered > answered + 1)
    s.pump(lambda: plug_in.model.state.value == LiveState.LIVE.value and drawn(s))
    assert plug_in.service.settings.channel_index == 0


def test_fault_46_a_subscan_is_judged_with_its_own_pixel_size_and_place(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    with Judged(microscope, server_address) as judged:
        judged.play(pixel_time_us=4.0)
        wait(lambda: judged.results and judged.results[-1].refusal is None)
        judged.scan.abort_playing(sync_timeout=60.0)
        microscope.record(
            subscan_pixel_size=(192, 192),
            subscan_fractional_size=(0.75, 0.75),
            subscan_fractional_center=(0.4, 0.6),
        )
        subscans = lambda: [r for r in judged.results if r.frame.shape == (192, 192)]  # noqa: E731
        wait(subscans)
        sub = subscans()[0]
        origin = judged.service.origin(sub.frame)
        assert origin is not None
        assert origin.data_channel_id.endswith("_subscan")
        assert sub.refusal is None, sub.refusal
        assert sub.context.value("pixel_size_angstrom") == pytest.approx(10 * 5.0 / 256, rel=1e-3)


@pytest.mark.parametrize(
    "change",
    [{"fov_nm": 4.0}, {"rotation_rad": 0.5}, {"pixel_size": (192, 256)}],
    ids=["field of view", "rotation", "size"],
)
def test_fault_47_a_frame_whose_scan_was_changed_is_discarded(
    change: dict[str, Any], microscope: HeadlessMicroscope, server_address: str
) -> None:
    """What is shown is always of one scan: its pixel size is that of its own lattice."""
    with Judged(microscope, server_address, partial_frames=True) as judged:
        judged.play(pixel_time_us=20.0)
        wait(lambda: any(0 < r.frame.valid_rows < 200 for r in judged.results))
        old = judged.origins[-1]
        judged.play(**change)

        def is_new(origin: FrameOrigin | None) -> bool:
            assert origin is not None
            assert old is not None
            return origin.field != old.field

        wait(
            lambda: any(
                is_new(o) and is_whole(r) for r, o in zip(judged.results, list(judged.origins), strict=False)
            )
        )
        results = list(judged.results)
        seen = [is_new(origin) for origin in judged.origins[: len(results)]]
        # Once the new field is shown, the one before never comes again.
        assert all(seen[seen.index(True) :])
        assert len({o.field for o in judged.origins if o is not None}) == 2
        for result in results:
            if result.calibration is not None and result.refusal is None:
                told = result.context.value("pixel_size_angstrom")
                assert result.calibration.pixel_size_angstrom == pytest.approx(told, rel=0.06)


class SilentColumn:
    """An instrument that answers nothing."""

    def TryGetVal(self, name: str) -> tuple[bool, float]:  # noqa: N802  # Nion's name
        raise RuntimeError("no answer from the column")


def test_fault_49_a_control_that_cannot_be_read_is_averaged_over_and_said(server_address: str) -> None:
    column = MicroscopeSettings(size=(256, 256), fov_nm=5.0, host="MoS2", dopant="W")
    with (
        HeadlessMicroscope(column) as microscope,
        Judged(microscope, server_address, SilentColumn(), host="MoS2", dopants=("W",)) as judged,
    ):
        judged.play(pixel_time_us=12.0)
        wait(lambda: judged.results)
        result = judged.results[-1]
        assert result.refusal is None, result.refusal
        assert "no answer from the column" in result.context.missing()["inner_mrad"]
        assert any(w.startswith("Not known") for w in result.warnings)
        assert judged.scan.is_playing


def test_fault_49_without_angles_nothing_is_flagged_where_they_are_needed_to_know_the_metal(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    with Judged(microscope, server_address, SilentColumn()) as judged:
        judged.play(pixel_time_us=12.0)
        wait(lambda: judged.results)
        refusal = judged.results[-1].refusal
        assert refusal is not None
        assert refusal.code == "sublattices"
        assert "angles" in refusal.fix
        assert judged.scan.is_playing


def test_fault_50_angles_of_another_camera_length_are_used_from_then_on(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    with Judged(microscope, server_address) as judged:
        judged.play(pixel_time_us=4.0)
        wait(lambda: judged.results)
        assert judged.results[-1].context.value("inner_mrad") == pytest.approx(70.0)
        microscope.stem_controller.SetVal("HAADF_InnerAngle", 0.05)
        microscope.stem_controller.SetVal("HAADF_OuterAngle", 0.12)
        wait(lambda: judged.results[-1].context.value("inner_mrad") == pytest.approx(50.0))
        told = [r.context.value("inner_mrad") for r in judged.results]
        changed = next(k for k, inner in enumerate(told) if inner < 60.0)
        assert told[:changed] == pytest.approx([70.0] * changed)
        assert told[changed:] == pytest.approx([50.0] * (len(told) - changed))


def test_fault_50_angles_that_were_entered_are_asked_for_again(live: tuple[Swift, Any]) -> None:
    """An instrument that tells its camera length and no angles, as the panel sees it."""
    s, plug_in = live
    model, stem = plug_in.model, plug_in.scan.stem_controller
    model.controls["inner"].value = model.controls["outer"].value = "no_such_control"
    model.controls[
        "camera_length"
    ].value = "MAADF_InnerAngle"  # any that can be set and does not change the image
    s.pump(lambda: model.can_enter["inner_mrad"].value)
    model.entered["inner_mrad"].value = "70"
    model.entered["outer_mrad"].value = "200"
    s.pump(lambda: "70 mrad (you)" in model.quantity["inner_mrad"].value)
    assert plug_in.remembered.entered_for is not None
    stem.SetVal("MAADF_InnerAngle", 1.5 * stem.GetVal("MAADF_InnerAngle"))
    s.pump(lambda: "not known" in model.quantity["inner_mrad"].value)
    s.pump(lambda: model.entered["inner_mrad"].value == model.entered["outer_mrad"].value == "")
    assert "MAADF_InnerAngle was" in model.problem.value
    assert "enter it again" in model.problem.value
    assert not plug_in.remembered.user
    model.entered["inner_mrad"].value = "105"
    s.pump(lambda: "105 mrad (you)" in model.quantity["inner_mrad"].value)
    assert model.problem.value == ""


def test_fault_51_frame_numbers_that_begin_anew_are_judged_and_shown(
    microscope: HeadlessMicroscope, server_address: str
) -> None:
    with Judged(microscope, server_address) as judged:
        judged.play(pixel_time_us=4.0)
        wait(lambda: judged.results and judged.results[-1].frame.frame_index >= 2)
        judged.scan.abort_playing(sync_timeout=60.0)
        before, highest = len(judged.results), judged.results[-1].frame.frame_index
        judged.play()
        # What was under way may still come first.
        wait(lambda: any(r.frame.frame_index < highest for r in judged.results[before:]))
        assert None not in judged.origins


def test_fault_52_frames_of_another_scan_device_are_left_alone(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    devices = Registry.get_components_by_type("scan_hardware_source")
    assert len(plug_in.model.devices.value) == len(devices)
    other = next(d for d in devices if d is not s.scan)  # that of Nion's own simulator
    mine = plug_in.service.scan_hardware_source.hardware_source_id
    other.start_playing(sync_timeout=60.0)
    try:
        answered = plug_in.service.status.answered
        s.pump(lambda: plug_in.service.status.answered >= answered + 3)
        assert plug_in.feed.origin.hardware_source_id == mine
        plug_in.model.device_index.value = 1 - plug_in.model.device_index.value
        assert plug_in.scan is other
        assert plug_in.service is None
        s.window.periodic()
        assert not flags_graphics(s)
    finally:
        other.abort_playing(sync_timeout=60.0)


def test_fault_53_the_window_closes_while_live(live: tuple[Swift, Any]) -> None:
    """As when another project is opened: Nion Swift closes the window first."""
    s, plug_in = live
    plug_in.window_closed(s.window)
    assert not flags_graphics(s), "a graphic would be saved with the project"
    assert plug_in.service is None or not plug_in.service.is_running
    assert s.scan.is_playing
    plug_in.window_opened(s.window)
    plug_in.start()
    s.pump(lambda: drawn(s))


def test_fault_55_an_error_of_the_window_stops_neither_scan_nor_judging(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    overlay, paint = plug_in.screen.overlay, plug_in.screen.overlay.paint

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    overlay.paint = fail
    answered = plug_in.service.status.answered
    s.pump(lambda: plug_in.service.status.answered >= answered + 2)
    overlay.paint = paint
    painted = len(plug_in.paint_ms)
    s.pump(lambda: len(plug_in.paint_ms) > painted)
    assert s.scan.is_playing


def test_fault_56_without_an_instrument_the_panel_says_so(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        modules = list(Registry.get_components_by_type("scan_module"))
        for module in modules:
            Registry.unregister_component(module, {"scan_module"})
        try:
            before = set(threading.enumerate())
            load("stemctx")
            from nionswift_plugin.stemctx import plug_in as module_of

            plug_in = module_of.current()
            assert plug_in is not None
            plug_in.window_opened(s.window)
            assert plug_in.scan is None
            assert plug_in.model.devices.value == []
            plug_in.start()
            assert plug_in.model.state.value == LiveState.FAILED.value
            assert "no scan device" in plug_in.model.reason.value
            plug_in.stop()
            s.window.periodic()
            assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("stemctx")]
        finally:
            PlugInManager.unload_plug_ins()
            for module in modules:
                Registry.register_component(module, {"scan_module"})
