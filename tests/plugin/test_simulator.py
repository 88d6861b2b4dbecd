"""The simulated instrument inside Nion Swift, headless, with Nion's own leak checks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from nion.swift import Panel
from nion.ui import DrawingContext
from nion.utils import Geometry, Registry

from nionswift_plugin.stemctx_simulator import exchange
from nionswift_plugin.stemctx_simulator import plug_in as simulator
from nionswift_plugin.stemctx_simulator.panel import PANEL_ID, PANEL_NAME
from nionswift_plugin.stemctx_simulator.truth_graphic import GRAPHIC_ID, Square, TruthGraphic, squares
from sim.geometry import ScanArea
from sim.shot import shot
from sim.specimen import Specimen
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import Known, Source
from tests.plugin.swift import QUICK, Swift, load, loaded, swift
from tests.sim.test_replay import recording
from tests.sim.truth import ground_truth


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[tuple[Swift, Any]]:
    """Nion Swift with the simulator alone: the plug-in that flags is absent."""
    from nion.swift.model import PlugInManager

    with swift(tmp_path) as s:
        exchange.install(dataclasses.replace(QUICK, dwell_us=2.0))
        try:
            load("stemctx_simulator")
            yield s, simulator.current()
        finally:
            PlugInManager.unload_plug_ins()


def _record(s: Swift) -> Any:
    return s.scan.record_immediate(s.scan.get_current_frame_parameters(), sync_timeout=60.0)[0]


def _graphics(s: Swift) -> list[Any]:
    display = s.live_display()
    return [] if display is None else [g for g in display.graphics if g.graphic_id == GRAPHIC_ID]


def test_nions_simulator_stays_and_can_be_scanned(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        usim, stem = s.scan, Registry.get_component("stem_controller")
        before = {
            kind: set(Registry.get_components_by_type(kind)) for kind in ("scan_module", "stem_controller")
        }
        with loaded():
            assert s.scan.hardware_source_id == "stemctx_simulated_scan"
            ours = exchange.installed()
            assert ours is not None
            assert ours.instrument.scan_controller is s.scan
            assert stem.scan_controller is usim
            parameters = usim.get_current_frame_parameters()
            parameters.pixel_size = (32, 32)
            (frame,) = usim.record_immediate(parameters, sync_timeout=60.0)
            assert frame.data_shape == (32, 32)
            assert "stemctx_simulation" not in frame.metadata["scan"]["scan_device_properties"]
        assert s.scan is usim
        assert Registry.get_component("stem_controller") is stem
        for kind, components in before.items():
            assert set(Registry.get_components_by_type(kind)) == components


def test_beside_a_real_scan_device_it_stays_out(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        usim = s.scan
        known_device = next(iter(Registry.get_components_by_type("scan_module"))).device
        identity, known_device.scan_device_id = known_device.scan_device_id, "superscan"
        try:
            assert not exchange.install(QUICK)
            assert exchange.installed() is None
            assert s.scan is usim
        finally:
            known_device.scan_device_id = identity


def test_the_panel_builds_and_follows_the_column(simulated: tuple[Swift, Any]) -> None:
    s, plug_in = simulated
    manager = Panel.PanelManager()
    panel = manager.create_panel_content(
        s.window, PANEL_ID, PANEL_NAME, ["left", "right"], "left", manager.get_panel_info(PANEL_ID)[3]
    )
    try:
        s.window.periodic()
        form, instrument = plug_in.form, plug_in.installed.instrument
        assert form.controls["EHT"].value == "80"
        assert form.shown.value == "WSe2:V, seed 0"
        instrument.SetVal("HAADF_Inner_ha", 0.09)
        s.pump(lambda: form.controls["HAADF_Inner_ha"].value == "90")
        form.controls["EHT"].value = "60"
        assert instrument.GetVal("EHT") == 60e3
        form.controls["EHT"].value = "-3"
        assert "cannot be" in form.message.value
        assert form.controls["EHT"].value == "60"
        form.changes["damage"].value = "2"
        assert instrument.sample.damage_barn == 2.0
        form.changes["damage"].value = "much"
        assert "no number" in form.message.value
        assert instrument.sample.damage_barn == 2.0
    finally:
        panel.close()


def test_controls_change_image_and_metadata(simulated: tuple[Swift, Any]) -> None:
    s, plug_in = simulated
    before = _record(s)
    plug_in.form.controls["EHT"].value = "200"
    faster = _record(s)
    assert faster.metadata["instrument"]["high_tension"] == 200e3
    assert faster.data.mean() < 0.8 * before.data.mean()
    plug_in.form.controls["HAADF_Inner_ha"].value = "90"
    assert plug_in.installed.instrument.TryGetVal("HAADF_InnerAngle") == (True, pytest.approx(0.09))
    assert _record(s).data.mean() < 0.9 * faster.data.mean()


def test_another_crystal_is_put_in(simulated: tuple[Swift, Any]) -> None:
    s, plug_in = simulated
    form, sample = plug_in.form, plug_in.installed.instrument.sample
    form.host_index.value = form.hosts.value.index("MoS2")
    form.dopant.value = "Re"
    form.shares[Role.DOPANT].value = "20"
    form.seed.value = "5"
    form.imperfections_index.value = 1
    plug_in.put_in_crystal()
    assert form.shown.value == "MoS2:Re, seed 5"
    assert sample.imperfections == "typical"
    truth = sample.ground_truth(shot(_record(s).metadata))
    assert 0.1 < (truth.species == "Re_Mo").sum() / (truth.sites.sublattice == 0).sum() < 0.3
    form.dopant.value = "Xx"
    plug_in.put_in_crystal()
    assert "Xx" in form.message.value
    assert form.shown.value == "MoS2:Re, seed 5"


def test_a_micrograph_is_replayed(simulated: tuple[Swift, Any], tmp_path: Path) -> None:
    s, plug_in = simulated
    pixels = np.random.default_rng(0).integers(0, 4000, (256, 256)).astype(np.uint16)
    path = tmp_path / "micrograph.tif"
    tifffile.imwrite(path, pixels)
    form = plug_in.form
    form.file.value = str(path)
    plug_in.put_in_file()
    s.pump(lambda: "how large its pixels are" in form.message.value)
    form.pixel_angstrom.value = f"{10 * QUICK.fov_nm / 256}"
    plug_in.put_in_file()
    s.pump(lambda: form.shown.value.startswith("micrograph.tif"))
    plug_in.installed.instrument.drift_nm_per_s = (0.0, 0.0)
    frame = _record(s)
    taken = shot(frame.metadata)
    assert taken.replayed == "micrograph.tif"
    # Drift before the file was put in has moved it by less than a hundredth of a pixel.
    np.testing.assert_allclose(frame.data, pixels, atol=50)
    plug_in.put_in_crystal()
    assert form.shown.value == "WSe2:V, seed 0"


def test_true_defects_are_shown_on_demand_and_leave_nothing(simulated: tuple[Swift, Any]) -> None:
    s, plug_in = simulated
    s.scan.start_playing(sync_timeout=60.0)
    s.pump(lambda: s.live_display() is not None)
    assert not _graphics(s)
    plug_in.form.truth.value = True
    (graphic,) = s.pump(lambda: _graphics(s))
    assert isinstance(graphic, TruthGraphic)
    sample = plug_in.installed.instrument.sample
    truth = sample.ground_truth(shot(s.live_display().data_item.xdata.metadata))
    s.pump(lambda: abs(len(graphic.drawn) - int(truth.is_defect.sum())) <= 3)
    assert all(-0.01 < square.y < 1.01 and -0.01 < square.x < 1.01 for square in graphic.drawn)
    assert not plug_in.form.score.value, "nothing flags, so nothing is scored"
    plug_in.form.truth.value = False
    assert not _graphics(s)
    s.scan.abort_playing(sync_timeout=60.0)


def test_unloaded_while_scanning_it_leaves_no_graphic_and_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # the server that all tests share has some
    with swift(tmp_path) as s:
        for _ in range(3):
            with loaded(dataclasses.replace(QUICK, dwell_us=2.0)):
                plug_in = simulator.current()
                assert plug_in is not None
                plug_in.form.truth.value = True
                s.scan.start_playing(sync_timeout=60.0)
                s.pump(lambda: _graphics(s))
                display = s.live_display()
            s.window.periodic()
            assert not [g for g in display.graphics if g.graphic_id == GRAPHIC_ID]
            assert simulator.current() is None
            left = set(threading.enumerate()) - before
            assert not [t.name for t in left if t.name.startswith("stemctx-")]


class _Mapping:
    """An image of 200 by 400 points in the widget."""

    def map_point_image_norm_to_widget(self, p: Any) -> Any:
        return Geometry.FloatPoint(p.y * 200, p.x * 400)

    def map_size_image_norm_to_widget(self, s: Any) -> Any:
        return Geometry.FloatSize(s.height * 200, s.width * 400)


def test_squares_stand_on_the_true_defects_and_are_drawn_by_the_way_of_this_nion_swift() -> None:
    geometry = ScanArea((128, 256), 8.0).geometry()
    truth = ground_truth(Specimen(seed=3), geometry)
    drawn = squares(truth, "WSe2")
    places = np.array([(q.y * 128 - 0.5, q.x * 256 - 0.5) for q in drawn])
    np.testing.assert_allclose(places, truth.positions_px[truth.is_defect])
    assert drawn[0].half_y * 128 == pytest.approx(drawn[0].half_x * 256)
    graphic = TruthGraphic()
    graphic.show((Square(0.25, 0.5, 0.1, 0.05, "#0072B2"),))
    ctx = DrawingContext.DrawingContext()
    graphic.draw(ctx, None, _Mapping(), False, False)
    said = [tuple(c) for c in ctx.commands]
    assert [c[1:5] for c in said if c[0] == "rect"] == [(180.0, 30.0, 40.0, 40.0)] * 2
    assert not [c for c in said if c[0] == "fill"], "hollow"
    graphic.close()


def test_a_recording_brings_its_conditions(simulated: tuple[Swift, Any], tmp_path: Path) -> None:
    s, plug_in = simulated
    path = tmp_path / "live.h5"
    images = recording(path, Known(0.5, Source.FRAME))
    plug_in.form.file.value = str(path)
    plug_in.put_in_file()
    s.pump(lambda: plug_in.form.shown.value == "live.h5, 2 images")
    controls = {name: field.value for name, field in plug_in.form.controls.items()}
    assert (controls["EHT"], controls["MAADF_Inner_ha"], controls["MAADF_Outer_ha"]) == ("60", "65", "180")
    assert controls["HAADF_Inner_ha"] == "70", "it was recorded on MAADF"
    shown = _record(s)
    assert shot(shown.metadata).replayed == "live.h5"
    assert images[0].min() <= shown.data.min() <= shown.data.max() <= images[0].max()


def test_flags_are_scored_live(tmp_path: Path, server_address: str) -> None:
    with swift(tmp_path) as s, loaded() as flags:
        flags.remembered = type(flags.remembered)(address=server_address)
        plug_in = simulator.current()
        assert plug_in is not None
        flags.start()
        s.pump(lambda: plug_in.form.score.value)
        scored = plug_in.witness._score
        flags.stop()
        s.scan.abort_playing(sync_timeout=60.0)
        assert scored.score.strict.precision > 0.8
        assert scored.score.strict.recall > 0.8
        assert scored.calibration.error < 0.3
        assert "recall" in plug_in.form.score.value
        assert "calibration error" in plug_in.form.probability.value
        plug_in.reset_score()
        assert not plug_in.form.score.value
