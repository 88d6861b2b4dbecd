"""Context: which source wins, units, and saying what is missing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from nionswift_plugin.stemctx.context.context_reader import ContextReader, ControlNames
from nionswift_plugin.stemctx.context.geometry import Geometry
from stemctx_core.context import Known, Missing, Source


class Instrument:
    """The two calls of Nion's STEM controller that reading needs, with controls of its own."""

    def __init__(self, **controls: float) -> None:
        self.controls = controls
        self.reads: list[str] = []
        self.broken = ""

    def TryGetVal(self, name: str) -> tuple[bool, float | None]:  # noqa: N802
        self.reads.append(name)
        if name == self.broken:
            raise RuntimeError("no answer from the column")
        return name in self.controls, self.controls.get(name)


def simulated() -> Instrument:
    return Instrument(
        EHT=60e3,
        ConvergenceAngle=0.03,
        HAADF_InnerAngle=0.07,
        HAADF_OuterAngle=0.2,
        MAADF_InnerAngle=0.05,
        MAADF_OuterAngle=0.12,
        BeamCurrent=51e-12,
    )


def nion_frame() -> dict[str, Any]:
    """Metadata as a Nion instrument writes them."""
    return {
        "instrument": {"high_tension": 100e3},
        "hardware_source": {"channel_name": "HAADF", "pixel_time_us": 12.0},
        "scan": {
            "scan_device_properties": {
                "ImageScanned:EHT": 80e3,
                "ImageScanned:probe_ha": 0.032,
                "ImageScanned:HAADF_Inner_ha": 0.085,
                "ImageScanned:HAADF_Outer_ha": 195.0,
            }
        },
    }


def test_the_frames_own_metadata_win_over_the_instrument() -> None:
    context = ContextReader(simulated(), "WSe2", ("V",)).read(nion_frame(), pixel_size_nm=(0.02, 0.02))
    assert context.high_tension_kv == Known(80.0, Source.FRAME, "scan.scan_device_properties.ImageScanned:EHT")
    assert context.value("convergence_semi_angle_mrad") == pytest.approx(32.0)
    assert context.value("inner_mrad") == pytest.approx(85.0)
    assert context.value("outer_mrad") == pytest.approx(
        195.0
    )  # given in mrad: not below 1, so not taken as rad
    assert isinstance(context.inner_mrad, Known)
    assert context.inner_mrad.source is Source.FRAME
    assert context.pixel_size_angstrom == Known(0.2, Source.FRAME, "dimensional calibrations")
    context.validated()


def test_high_tension_of_the_frame_then_controls_of_the_instrument() -> None:
    context = ContextReader(simulated(), "WSe2").read(
        {"instrument": {"high_tension": 100e3}}, channel_name="HAADF"
    )
    assert context.high_tension_kv == Known(100.0, Source.FRAME, "instrument.high_tension")
    assert context.inner_mrad == Known(70.0, Source.INSTRUMENT, "control HAADF_InnerAngle")
    without = ContextReader(simulated(), "WSe2").read({}, channel_name="HAADF")
    assert without.high_tension_kv == Known(60.0, Source.INSTRUMENT, "control EHT")


def test_each_channel_gets_the_angles_of_its_own_detector() -> None:
    reader = ContextReader(simulated(), "WSe2")
    maadf = reader.read({"hardware_source": {"channel_name": "MAADF Subscan"}})
    assert maadf.channel == "MAADF"
    assert maadf.value("inner_mrad") == pytest.approx(50.0)
    assert maadf.value("outer_mrad") == pytest.approx(120.0)
    bright_field = reader.read({}, channel_name="BF")
    assert isinstance(bright_field.inner_mrad, Missing)


def test_what_the_user_entered_fills_what_nobody_says() -> None:
    reader = ContextReader(Instrument(EHT=80e3), "WSe2", user={"inner_mrad": 60.0, "high_tension_kv": 200.0})
    context = reader.read({}, channel_name="HAADF")
    assert context.inner_mrad == Known(60.0, Source.USER, "entered in the panel")
    assert context.value("high_tension_kv") == 80.0
    missing = context.missing()
    assert set(missing) == {"convergence_semi_angle_mrad", "outer_mrad"}
    assert "HAADF_OuterAngle" in missing["outer_mrad"]


def test_control_names_are_configurable() -> None:
    names = ControlNames(inner=("Annular_{channel}_in",), convergence=("alpha",))
    instrument = Instrument(Annular_HAADF_in=0.09, alpha=25.0)
    context = ContextReader(instrument, "WSe2", controls=names).read({}, channel_name="HAADF")
    assert context.value("inner_mrad") == pytest.approx(90.0)
    assert context.value("convergence_semi_angle_mrad") == pytest.approx(25.0)


def test_fault_49_a_control_that_raises_is_missing_with_the_reason() -> None:
    instrument = Instrument(EHT=80e3)
    instrument.broken = "ConvergenceAngle"
    context = ContextReader(instrument, "WSe2").read({}, channel_name="HAADF")
    assert "no answer from the column" in context.missing()["convergence_semi_angle_mrad"]
    assert context.value("high_tension_kv") == 80.0


def test_fault_56_without_an_instrument_everything_is_missing() -> None:
    context = ContextReader(None, "WSe2").read({})
    assert len(context.missing()) == 4
    assert "there is no instrument" in context.missing()["high_tension_kv"]


def test_fault_50_controls_are_read_again_only_after_their_time() -> None:
    instrument = simulated()
    reader = ContextReader(instrument, "WSe2", time_to_live_s=2.0)
    reader.read({}, channel_name="HAADF")
    first = len(instrument.reads)
    instrument.controls["HAADF_InnerAngle"] = 0.09
    assert reader.read({}, channel_name="HAADF").value("inner_mrad") == pytest.approx(70.0)
    assert len(instrument.reads) == first
    time.sleep(2.1)
    assert reader.read({}, channel_name="HAADF").value("inner_mrad") == pytest.approx(90.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "80 kV", True])
def test_a_value_that_is_no_number_is_not_taken(value: object) -> None:
    context = ContextReader(None, "WSe2").read({"instrument": {"high_tension": value}})
    assert isinstance(context.high_tension_kv, Missing)


@pytest.mark.parametrize(
    ("pixel_size_nm", "said"),
    [(None, "no length"), ((0.0, 0.02), "not a length"), ((0.02, 0.03), "not square")],
)
def test_a_pixel_size_that_cannot_be_used_says_why(
    pixel_size_nm: tuple[float, float] | None, said: str
) -> None:
    context = ContextReader(None, "WSe2").read({}, pixel_size_nm=pixel_size_nm)
    assert isinstance(context.pixel_size_angstrom, Missing)
    assert said in context.pixel_size_angstrom.reason


def test_dose_from_beam_current_dwell_time_and_pixel_size() -> None:
    context = ContextReader(simulated(), "WSe2").read(nion_frame(), pixel_size_nm=(0.0195, 0.0195))
    # 51 pA for 12 us are 3820 electrons, over 0.195 A squared.
    assert context.value("dose_e_per_angstrom2") == pytest.approx(1.0e5, rel=0.01)


@pytest.mark.parametrize(
    ("channel", "length", "said"),
    [
        ("HAADF", 0.02, ""),
        ("HAADF", 0.02 * (1 + 1e-6), ""),
        ("HAADF", 0.03, "when CameraLength was 0.02, and it is 0.03 now"),
        ("MAADF", 0.02, "for the channel HAADF, and it is MAADF now"),
    ],
)
def test_fault_50_angles_that_were_entered_hold_for_one_detector_and_camera_length(
    channel: str, length: float, said: str
) -> None:
    entered = Geometry("scan", "HAADF", {"CameraLength": 0.02})
    user = {"inner_mrad": 60.0, "outer_mrad": 200.0, "convergence_semi_angle_mrad": 30.0}
    instrument = Instrument(CameraLength=length)
    reader = ContextReader(
        instrument, "WSe2", user=user, entered_for=entered, scan_device="scan", time_to_live_s=0.0
    )
    context = reader.read({}, channel_name=channel)
    assert context.value("convergence_semi_angle_mrad") == 30.0, "it has nothing to do with the detector"
    if not said:
        assert context.value("inner_mrad") == 60.0
        assert not reader.outdated
        return
    assert context.missing()["inner_mrad"] == f"you entered 60 mrad {said}: enter it again"
    assert set(reader.outdated) == {"inner_mrad", "outer_mrad"}
    instrument.controls["CameraLength"] = 0.02
    back = reader.read({}, channel_name="HAADF")
    assert "inner_mrad" in back.missing(), "what was asked for again does not come back by itself"


def test_fault_50_a_camera_length_that_is_not_told_asks_for_nothing() -> None:
    entered = Geometry("scan", "HAADF", {"CameraLength": 0.02})
    reader = ContextReader(None, "WSe2", user={"inner_mrad": 60.0}, entered_for=entered, scan_device="scan")
    assert reader.read({}, channel_name="HAADF").value("inner_mrad") == 60.0
