from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nion.utils import Geometry, Registry
from scipy.ndimage import map_coordinates

from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from stemctx_core.errors import InputError, LibraryError

QUICK = MicroscopeSettings(size=(192, 192), fov_nm=6.0, dwell_us=2.0, probe_current_pa=10_000.0)


@pytest.fixture
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(QUICK) as opened:
        yield opened


#: Peaks of the species over that of W at 80 kV. On MAADF two selenium atoms are as bright as one tungsten atom.
ON_HAADF = {
    "W": 1.0, "Se2": 0.82, "vac_Se": 0.39, "O_Se": 0.45, "V_W": 0.2, "vac_W": 0.05, "vac_Se2": 0.05
}  # fmt: skip
ON_MAADF = {
    "W": 1.0, "Se2": 1.03, "vac_Se": 0.4, "O_Se": 0.52, "V_W": 0.23, "vac_W": 0.05, "vac_Se2": 0.05
}  # fmt: skip


def _agreement(microscope: HeadlessMicroscope, xdata: Any, brightness: dict[str, float] = ON_HAADF) -> float:
    """Correlation of the counts at the true sites with how brightly each species shines on average."""
    truth = microscope.ground_truth(xdata.metadata)
    inside = np.all((truth.positions_px > 4) & (truth.positions_px < np.array(truth.shape) - 5), axis=1)
    seen = map_coordinates(xdata.data.astype(float), truth.positions_px[inside].T, order=1)
    species = truth.species[inside]
    return float(np.corrcoef(seen, [brightness[s] for s in species])[0, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rotation_rad": 0.3},
        {"center_nm": Geometry.FloatPoint(y=30.0, x=-12.0), "rotation_rad": -0.9},
        {"pixel_size": Geometry.IntSize(96, 192)},
        {"pixel_size": Geometry.IntSize(192, 96), "rotation_rad": 0.3},
    ],
    ids=["plain", "rotated", "moved", "wide", "high"],
)
def test_truth_belongs_to_the_frame(microscope: HeadlessMicroscope, changes: dict[str, Any]) -> None:
    (xdata,) = microscope.record(**changes)
    assert _agreement(microscope, xdata) > 0.9
    truth = microscope.ground_truth(json.loads(json.dumps(xdata.metadata)))
    assert truth.shape == xdata.data_shape
    assert truth.pixel_size_angstrom == pytest.approx(10 * xdata.dimensional_calibrations[1].scale)


def test_truth_follows_stage_beam_shift_drift_and_subscan(microscope: HeadlessMicroscope) -> None:
    stem, scan = microscope.stem_controller, microscope.scan
    (before,) = microscope.record()
    stem.SetVal2D("stage_position_m", Geometry.FloatPoint(y=0.0, x=1e-9))
    (moved,) = microscope.record()
    # The stage by +x moves features right: by 1 nm, which is 32 pixels.
    assert np.corrcoef(moved.data[:, 32:].ravel(), before.data[:, :-32].ravel())[0, 1] > 0.98
    assert np.corrcoef(moved.data[:, :-32].ravel(), before.data[:, 32:].ravel())[0, 1] < 0.9
    assert _agreement(microscope, moved) > 0.9
    stem.SetVal2D("beam_shift_m", Geometry.FloatPoint(y=4e-10, x=-7e-10))
    stem.drift_nm_per_s = (3.0, -2.0)
    microscope.record()
    (drifting,) = microscope.record()
    geometry = shot(drifting.metadata).geometry
    assert geometry is not None
    assert geometry.drift_nm_per_row[0] == pytest.approx(3.0 * 192 * 2e-6)
    assert geometry.centre_nm != pytest.approx((0.4, -1.7), abs=0.05)
    assert _agreement(microscope, drifting) > 0.9
    part = microscope.frame_parameters(
        subscan_pixel_size=(96, 96),
        subscan_fractional_size=(0.5, 0.5),
        subscan_fractional_center=(0.35, 0.6),
        subscan_rotation=0.2,
        rotation_rad=0.3,
    )
    (subscan,) = scan.record_immediate(part, sync_timeout=60.0)
    assert subscan.data_shape == (96, 96)
    assert _agreement(microscope, subscan) > 0.9


def test_zooming_to_a_defect_finds_it_in_the_middle(microscope: HeadlessMicroscope) -> None:
    (overview,) = microscope.record(rotation_rad=0.3)
    geometry = shot(overview.metadata).geometry
    assert geometry is not None
    truth = microscope.ground_truth(overview.metadata)
    target = np.flatnonzero(truth.is_defect)[0]
    y, x = geometry.to_specimen_nm(truth.positions_px[target : target + 1])[0]
    (zoomed,) = microscope.record(rotation_rad=0.3, fov_nm=2.0, center_nm=Geometry.FloatPoint(y=y, x=x))
    near = microscope.ground_truth(zoomed.metadata)
    nearest = np.hypot(*(near.positions_px - 95.5).T).argmin()
    assert near.positions_px[nearest] == pytest.approx((95.5, 95.5), abs=0.5)
    assert near.species[nearest] == truth.species[target]


def test_both_channels_come_from_the_same_frame_and_differ(microscope: HeadlessMicroscope) -> None:
    haadf, maadf = microscope.record(enabled_channel_indexes=[0, 1])
    assert [x.metadata["hardware_source"]["channel_name"] for x in (haadf, maadf)] == ["HAADF", "MAADF"]
    assert shot(haadf.metadata) == shot(maadf.metadata)
    assert maadf.data.mean() > 1.3 * haadf.data.mean()
    assert _agreement(microscope, haadf) > 0.9 > _agreement(microscope, haadf, ON_MAADF)
    assert _agreement(microscope, maadf, ON_MAADF) > 0.9 > _agreement(microscope, maadf)


def test_controls_rule_what_is_seen(microscope: HeadlessMicroscope) -> None:
    stem = microscope.stem_controller
    assert stem.TryGetVal("EHT") == (True, 80_000.0)
    assert stem.GetVal("HAADF_InnerAngle") == pytest.approx(0.070)
    assert stem.GetVal("MAADF_OuterAngle") == pytest.approx(0.120)
    (before,) = microscope.record()
    stem.SetVal("BeamCurrent", 2 * stem.GetVal("BeamCurrent"))
    (brighter,) = microscope.record()
    assert brighter.data.mean() == pytest.approx(2 * before.data.mean(), rel=0.02)
    stem.SetVal("HAADF_InnerAngle", 0.090)
    (narrower,) = microscope.record()
    assert narrower.data.mean() < 0.8 * brighter.data.mean()
    stem.SetVal("EHT", 200e3)
    (faster,) = microscope.record()
    assert faster.data.mean() < 0.8 * narrower.data.mean()
    assert faster.metadata["instrument"]["high_tension"] == 200e3


def test_controls_answer_to_the_names_of_a_column(microscope: HeadlessMicroscope) -> None:
    stem = microscope.stem_controller
    for channel, inner in (("HAADF", 0.070), ("MAADF", 0.050)):
        for name in (f"{channel}_Inner_ha", f"{channel}_InnerAngle"):
            assert stem.TryGetVal(name) == (True, pytest.approx(inner))
    told: list[str] = []
    listener = stem.property_changed_event.listen(told.append)
    stem.SetVal("HAADF_OuterAngle", 0.150)
    stem.SetVal("probe_ha", 0.025)
    del listener
    assert {"HAADF_Outer_ha", "ConvergenceAngle"} <= set(told)
    assert stem.GetVal("ConvergenceAngle") == stem.GetVal("probe_ha") == 0.025
    assert stem.optics("HAADF").outer_mrad == 150.0
    assert stem.optics("HAADF").convergence_semi_angle_mrad == 25.0
    assert stem.TryGetVal("BF_Inner_ha") == (False, None)
    page = Path(__file__).parents[2].joinpath("docs", "simulator.md").read_text()
    names = re.findall(r"`(\w+_ha|EHT|ConvergenceAngle|BeamCurrent)`", page)
    assert len(names) >= 8
    assert all(stem.TryGetVal(name)[0] for name in names)


def test_outside_the_library_the_scan_goes_on_in_the_dark_and_says_why(
    microscope: HeadlessMicroscope, caplog: pytest.LogCaptureFixture
) -> None:
    stem, scan = microscope.stem_controller, microscope.scan
    stem.SetVal("HAADF_InnerAngle", 0.010)
    with pytest.raises(LibraryError, match="inner angle at least 35"):
        microscope.record()
    scan.start_playing(sync_timeout=60.0)
    first, second = (scan.get_next_xdatas_to_finish(timeout=60)[0] for _ in range(2))
    assert not first.data.any()
    assert "inner angle" in shot(second.metadata).error
    assert sum("inner angle" in r.getMessage() for r in caplog.records) == 1
    stem.SetVal("HAADF_InnerAngle", 0.070)
    scan.get_next_xdatas_to_finish(timeout=60)
    assert scan.is_playing
    assert scan.get_next_xdatas_to_finish(timeout=60)[0].data.any()


def test_opened_and_closed_again_and_again_nothing_is_left() -> None:
    kinds = ("stem_controller", "scan_module", "scan_hardware_source", "hardware_source_manager")
    threads = set(threading.enumerate())
    frames = []
    for _ in range(3):
        with HeadlessMicroscope(QUICK) as microscope:
            frames.append(microscope.record()[0].data.copy())
            microscope.scan.start_playing(sync_timeout=60.0)
            time.sleep(0.05)
            with pytest.raises(InputError, match="already registered"), HeadlessMicroscope():
                pass
        assert not any(Registry.get_components_by_type(kind) for kind in kinds)
        deadline = time.monotonic() + 60
        while set(threading.enumerate()) - threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(threading.enumerate()) <= threads
    # One seed, one history: the noise too.
    np.testing.assert_array_equal(frames[0], frames[2])


def test_errors_of_use() -> None:
    with pytest.raises(InputError, match="not open"):
        HeadlessMicroscope().record()
    with (
        pytest.raises(LibraryError, match="not 150 kV"),
        HeadlessMicroscope(MicroscopeSettings(high_tension_kv=150.0)),
    ):
        pass
    assert Registry.get_component("stem_controller") is None
    with HeadlessMicroscope(QUICK) as microscope, pytest.raises(InputError, match="not one of the simulated"):
        microscope.ground_truth({"scan": {}})


def test_a_frame_that_is_cut_short_is_not_called_complete(microscope: HeadlessMicroscope) -> None:
    scan = microscope.scan
    states: list[tuple[str, int]] = []

    def updated(args: Any, xdata: Any) -> None:
        states.append((args.state, xdata.metadata["scan"]["valid_rows"]))

    listener = scan.data_channel_updated_event.listen(updated)
    scan.start_playing(sync_timeout=60.0, frame_parameters=microscope.frame_parameters(pixel_time_us=150.0))
    deadline = time.monotonic() + 60
    while not any(0 < rows < 150 for _, rows in states) and time.monotonic() < deadline:
        time.sleep(0.01)
    scan.abort_playing(sync_timeout=60.0)
    listener.close()
    assert states
    assert all(state != "complete" and rows < 192 for state, rows in states), states
    assert microscope.record()[0].data.all(axis=1).any()
