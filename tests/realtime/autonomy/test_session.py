"""A session on the real simulated microscope, judged by the real analyzer."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nion.utils import Geometry

from nionswift_plugin.stemctx.scripting.microscope import NionMicroscope
from realtime.autonomy import session as plain
from realtime.autonomy.limits import LimitReached, Limits, Stopped
from realtime.autonomy.locating import TargetLost
from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.autonomy.record.reader import read_record
from realtime.autonomy.record.recorder import Recorder
from realtime.autonomy.views import SessionEvent, SessionTarget, View, target_of
from realtime.client import DefectClient
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError
from tests.realtime.support import serving, wait_for

#: 6 nm at 1e5 e/Å² in a fifth of a second.
FIELD = ScanRequest((0.0, 0.0), 6.0, (256, 256), 3e-6)
DOSE = 1e5
CURRENT_PA = DOSE * (60 / 256) ** 2 * 1.602176634e-19 / 3e-6 * 1e12
ZOOM: dict[str, Any] = {"field_of_view_nm": 4.0, "shape": (192, 192), "dwell_s": 3e-6}


class Scanned(NionMicroscope):
    """Keeps where each frame lay on the specimen; its clock goes on with the beam, and can be put forward.

    It goes on by a millisecond where it is looked at, so that who waits by it gets to the end.
    """

    beam_ns = waited_ns = 0
    fails = False

    def clock(self) -> int:
        self.beam_ns += 1_000_000
        return 10**9 + self.beam_ns + self.waited_ns

    def scan(self, request: ScanRequest) -> ScannedFrame:
        if self.fails:
            raise OSError("the cable")
        frame, began_ns = super().scan(request), self.clock()
        self.beam_ns += round(1e9 * request.seconds)
        frame = msgspec.structs.replace(frame, started_ns=began_ns, ended_ns=self.clock())
        geometry = shot(self.metadata).geometry
        assert geometry is not None
        self.geometries[frame.frame.scan_id] = geometry
        return frame

    @property
    def geometries(self) -> dict[str, Any]:
        return self.__dict__.setdefault("_geometries", {})

    def specimen_nm(self, view: View, site: int) -> np.ndarray:
        """Where on the specimen a site of a view lies, by the truth."""
        sites = view.result.sites
        at = np.array([[sites.y_px[site], sites.x_px[site]]], float)
        return np.asarray(self.geometries[view.frame.frame.scan_id].to_specimen_nm(at)[0])

    def truth_px(self, view: View, specimen_nm: np.ndarray) -> np.ndarray:
        """Where in a view a place of the specimen lies, by the truth."""
        return np.asarray(self.geometries[view.frame.frame.scan_id].to_px(specimen_nm[None])[0])


class Session(plain.Session):
    """By the clock of its microscope: what lies between two frames does not depend on how fast this machine is."""

    def __init__(self, microscope: Scanned, judge: Any, **options: Any) -> None:
        super().__init__(microscope, judge, clock=microscope.clock, **options)


@pytest.fixture(scope="module")
def judge() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


@pytest.fixture
def server(judge: FrameAnalyzer) -> Iterator[str]:
    with serving(judge) as opened:
        yield f"tcp://127.0.0.1:{opened.port}"


@pytest.fixture(scope="module")
def headless() -> Iterator[HeadlessMicroscope]:
    settings = MicroscopeSettings(probe_current_pa=CURRENT_PA, drift_nm_per_s=(0.0, 0.0), fov_nm=6.0)
    with HeadlessMicroscope(settings) as opened:
        # Nion adds what was left out when parameters are first set.
        opened.scan.set_current_frame_parameters(opened.frame_parameters())
        opened.scan.set_enabled_channels([0])
        yield opened


@pytest.fixture
def microscope(headless: HeadlessMicroscope) -> Iterator[Scanned]:
    headless.stem_controller.drift_nm_per_s = (0.0, 0.0)
    headless.scan.scan_device._drift_nm = np.zeros(2)  # what another test left
    yield Scanned.simulated(headless)
    headless.stem_controller.drift_nm_per_s = (0.0, 0.0)


def _scan_state(headless: HeadlessMicroscope) -> tuple[object, ...]:
    scan = headless.scan
    return (
        scan.get_current_frame_parameters().as_dict(),
        scan.get_record_frame_parameters().as_dict(),
        list(scan.get_enabled_channel_indexes()),
        tuple(headless.stem_controller.GetVal2D("CSH")),
    )


def _is_off(headless: HeadlessMicroscope) -> bool:
    return bool(headless.stem_controller.GetVal("C_Blank")) and not headless.scan.scan_device.is_scanning


def test_look_finds_targets_with_their_evidence(microscope: Scanned, judge: FrameAnalyzer) -> None:
    with Session(microscope, judge) as session:
        view = session.look(FIELD)
        assert view.result.refusal is None
        assert view.key == "look 1"
        targets = list(session.targets(view, species={"V_W"}, min_probability=0.95))
        assert targets
        assert [t.probability for t in targets] == sorted((t.probability for t in targets), reverse=True)
        first = targets[0]
        assert first.role is Role.DOPANT
        assert first.posterior["V_W"] == pytest.approx(first.probability)
        assert view.frame.started_ns < first.seen_ns < view.frame.ended_ns
        y_px, x_px = view.to_px(first.y_nm, first.x_nm)
        assert (y_px, x_px) == pytest.approx(
            (view.result.sites.y_px[first.site], view.result.sites.x_px[first.site])
        )
        truth = microscope.specimen_nm(view, first.site)
        assert (first.y_nm, first.x_nm) == pytest.approx(tuple(truth), abs=0.02)
        doubtful = list(session.targets(view, species={"V_W"}, min_posterior=0.05))
        assert {t.site for t in targets} <= {t.site for t in doubtful}
        assert session.spent.acquisitions == 1
        assert session.spent.max_dose_per_site == pytest.approx(DOSE, rel=1e-3)
        with pytest.raises(InputError, match="V_Mo cannot occur"):
            list(session.targets(view, species={"V_Mo"}))


def test_turned_fields_keep_their_coordinates(microscope: Scanned, judge: FrameAnalyzer) -> None:
    turned = msgspec.structs.replace(FIELD, centre_nm=(2.0, -1.0), rotation_rad=0.4)
    with Session(microscope, judge) as session:
        view = session.look(turned)
        target = next(session.targets(view))
        truth = microscope.specimen_nm(view, target.site)
        assert (target.y_nm, target.x_nm) == pytest.approx(tuple(truth), abs=0.02)


def test_zoom_lands_on_the_site_after_drift(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    """0.2 Å/s for more than 10 s: frames of a second each, elsewhere and here."""
    headless.stem_controller.drift_nm_per_s = (0.012, -0.016)
    slow = msgspec.structs.replace(FIELD, dwell_s=12e-6)
    headless.stem_controller.SetVal("BeamCurrent", CURRENT_PA * 1e-12 / 4)
    landed, found, drifted = [], [], []
    try:
        with Session(microscope, judge) as session:
            view = session.look(slow)
            targets = [
                t for t in session.targets(view, min_probability=0.95) if max(abs(t.y_nm), abs(t.x_nm)) < 2
            ][:5]
            assert len(targets) >= 3
            truths = [microscope.specimen_nm(view, t.site) for t in targets]
            for k in range(8):
                session.look(msgspec.structs.replace(slow, centre_nm=(40.0 + 8 * k, 0.0)))
            for target, truth in zip(targets, truths, strict=True):
                zoomed = session.zoom(target, **{**ZOOM, "dwell_s": 12e-6})
                px = 10 * zoomed.request.pixel_nm
                at = microscope.truth_px(zoomed, truth)
                middle = (np.array(zoomed.request.shape) - 1) / 2
                landed.append(float(np.linalg.norm(at - middle)) * px)
                assert zoomed.registration is not None
                assert zoomed.site is not None, zoomed.registration.reason
                sites = zoomed.result.sites
                place = np.array([sites.y_px[zoomed.site], sites.x_px[zoomed.site]])
                found.append(float(np.linalg.norm(at - place)) * px)
                assert zoomed.result.species(zoomed.site) == target.species
                drifted.append(10 * float(np.linalg.norm(truth - zoomed.to_nm(*at))))
            # A field too small to be judged lands as well, by the drift alone.
            small = session.zoom(targets[0], field_of_view_nm=1.0, shape=(48, 48), dwell_s=12e-6)
            assert small.site is None
            away = microscope.truth_px(small, truths[0]) - 23.5
            landed.append(10 * small.request.pixel_nm * float(np.linalg.norm(away)))
    finally:
        headless.stem_controller.SetVal("BeamCurrent", CURRENT_PA * 1e-12)
    assert min(drifted) > 1.3
    assert max(landed) < 0.5, landed
    assert max(found) < 0.25, found


def test_the_same_field_again_tells_the_drift(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    headless.stem_controller.drift_nm_per_s = (0.15, 0.1)
    with Session(microscope, judge) as session:
        for _ in range(4):
            view = session.look(FIELD)
        assert view.registration is not None
        assert view.registration.sure, view.registration.reason
        assert 0 < session.drift.velocity_nm_per_s[1] < session.drift.velocity_nm_per_s[0]
        known = [
            microscope.geometries[v.frame.frame.scan_id].centre_nm for v in session.exposures.newest_first()
        ]
        moved = np.array(known[1]) - np.array(known[0])  # the specimen goes where the centre comes from
        assert view.registration.shift_nm == pytest.approx(tuple(moved), abs=0.01)


def test_fault_62_a_refusal_is_no_target(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    with Session(microscope, judge) as session:
        dark = session.look(msgspec.structs.replace(FIELD, dwell_s=1e-12))
        small = session.look(ScanRequest((0.0, 0.0), 1.0, (64, 64), 3e-6))
        assert dark.result.refusal is not None
        assert small.result.refusal is not None
        for view in (dark, small, None):
            assert list(session.targets(view, min_probability=0.0)) == []
            assert list(session.targets(view, min_posterior=0.0)) == []


def test_fault_63_an_old_target_is_registered_again_or_none(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    with Session(microscope, judge, limits=Limits(max_age_s=20.0)) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
        microscope.waited_ns = int(15e9)
        # More than half of it has passed: the field is scanned again, and the targets are fresh again.
        assert next(session.targets(view)).site == target.site
        assert session.spent.acquisitions == 2
        assert session.why_not(target) == ""
        microscope.waited_ns = int(50e9)
        assert "max_age_s" in session.why_not(target)
        # Nobody scans for a caller that does not want it, so that there is none.
        assert list(session.targets(view, reregister=False)) == []
        assert session.spent.acquisitions == 2


def test_fault_63_a_target_that_drifted_too_far_is_none(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    with Session(microscope, judge, limits=Limits(max_drift_angstrom=1.0)) as session:
        view = session.look(FIELD)
        assert list(session.targets(view, reregister=False))
        microscope.waited_ns = int(30e9)
        told: list[SessionEvent] = []
        session.events.listen(told.append)
        assert list(session.targets(view, reregister=False)) == []
        assert any("max_drift_angstrom" in event.text for event in told)
        assert list(session.targets(view))
        assert session.spent.acquisitions == 2


def test_fault_63_what_cannot_be_found_again_is_not_acted_on(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    with Session(microscope, judge) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
        # Somebody else moves the stage: another piece of the same crystal.
        headless.stem_controller.SetVal2D("stage_position_m", Geometry.FloatPoint(25e-9, 31e-9))
        try:
            with pytest.raises(TargetLost, match="not found again"):
                session.zoom(target, **ZOOM, within_angstrom=0.001)
            zoomed = session.zoom(target, **ZOOM, within_angstrom=None)
            assert zoomed.site is None
            microscope.waited_ns = int(5e9)  # its place is no longer known to half an ångström
            with pytest.raises(TargetLost, match="not found again"):
                session.dwell(target, 0.1)
        finally:
            headless.stem_controller.SetVal2D("stage_position_m", Geometry.FloatPoint())


def test_fault_64_targets_outside_the_limits_are_none(microscope: Scanned, judge: FrameAnalyzer) -> None:
    with Session(microscope, judge, limits=Limits(field_nm=1.5)) as session:
        view = session.look(FIELD)
        targets = list(session.targets(view))
        assert targets
        assert all(max(abs(t.y_nm), abs(t.x_nm)) <= 1.5 for t in targets)
        with Session(microscope, judge) as free:
            outside = next(t for t in free.targets(free.look(FIELD)) if max(abs(t.y_nm), abs(t.x_nm)) > 1.6)
        with pytest.raises(LimitReached) as caught:
            session.zoom(msgspec.structs.replace(outside, view=view.key), **ZOOM, within_angstrom=None)
        assert caught.value.name == "field_nm"
        with pytest.raises(LimitReached):
            session.centre(msgspec.structs.replace(outside, view=view.key))
        assert session.spent.acquisitions == 1


@pytest.mark.parametrize(
    ("limits", "name", "exposures"),
    [
        (Limits(dose_per_site_e_per_angstrom2=2.5 * DOSE), "dose_per_site_e_per_angstrom2", 2),
        (Limits(dose_per_session_electrons=1.5 * DOSE * 60**2), "dose_per_session_electrons", 1),
        (Limits(acquisitions=3), "acquisitions", 3),
        (Limits(seconds=0.1), "seconds", 0),
    ],
)
def test_fault_65_the_limits_of_a_session_hold(
    microscope: Scanned, judge: FrameAnalyzer, limits: Limits, name: str, exposures: int
) -> None:
    with Session(microscope, judge, limits=limits) as session:
        told: list[SessionEvent] = []
        session.events.listen(told.append)
        for _ in range(exposures):
            session.look(FIELD)
        with pytest.raises(LimitReached) as caught:
            session.look(FIELD)
        assert caught.value.name == name
        assert session.spent.acquisitions == len(microscope.geometries) == exposures
        assert [e for e in told if e.kind == "limit" and name in e.text]


def test_fault_65_every_way_to_expose_counts(microscope: Scanned, judge: FrameAnalyzer) -> None:
    with Session(microscope, judge, limits=Limits(dose_per_site_e_per_angstrom2=1e9)) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
        session.zoom(target, **ZOOM, within_angstrom=None)
        session.record_subscan(target, **ZOOM)
        before = session.spent
        session.dwell(target, 0.02)
        electrons = CURRENT_PA * 1e-12 * 0.02 / 1.602176634e-19
        assert session.spent.electrons - before.electrons == pytest.approx(electrons, rel=1e-3)
        assert session.spent.acquisitions == before.acquisitions + 1
        assert session.budget.dose_at((target.y_nm, target.x_nm)) > electrons / 25
        with pytest.raises(LimitReached) as caught:
            session.acquire(target, lambda _: pytest.fail("it was exposed"), seconds=100.0)
        assert caught.value.name == "dose_per_site_e_per_angstrom2"


def test_fault_66_a_stop_during_a_scan_is_honoured_within_100_ms(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    before = _scan_state(headless)
    off_s: list[float] = []
    for _ in range(5):
        with pytest.raises(Stopped), Session(microscope, judge) as session:  # noqa: PT012
            view = session.look(FIELD)

            def stop(session: Session = session) -> None:
                wait_for(lambda: headless.scan.scan_device.is_scanning)
                began = time.perf_counter()
                session.stop()
                while not _is_off(headless):
                    time.sleep(0.001)
                off_s.append(time.perf_counter() - began)

            stopper = threading.Thread(target=stop)
            stopper.start()
            session.look(msgspec.structs.replace(FIELD, dwell_s=1e-3, centre_nm=(20.0, 5.0)))
        stopper.join()
        assert view.result.refusal is None
        assert _is_off(headless)
        assert not headless.scan.is_recording
        assert _scan_state(headless) == before
    assert min(off_s) < 0.1, "a machine that has much else to do is slow now and then, and not five times"
    for act in (lambda: session.look(FIELD), lambda: list(session.targets(view))):
        with pytest.raises(Stopped):
            act()


def test_fault_66_a_stop_while_the_beam_rests_on_a_target(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    before = _scan_state(headless)
    off_s: list[float] = []
    for _ in range(5):
        with pytest.raises(Stopped), Session(microscope, judge) as session:  # noqa: PT012
            target = next(session.targets(session.look(FIELD)))

            def stop(session: Session = session) -> None:
                wait_for(lambda: not headless.stem_controller.GetVal("C_Blank"))
                began = time.perf_counter()
                session.stop()
                off_s.append(time.perf_counter() - began)
                assert _is_off(headless)

            stopper = threading.Thread(target=stop)
            stopper.start()
            session.dwell(target, 60.0)
        stopper.join()
        assert _is_off(headless)
        assert _scan_state(headless) == before
    assert min(off_s) < 0.1


def test_fault_66_a_stop_between_exposures_begins_none(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    class Stopping:
        def analyze(self, image: Any, context: Any, frame: Any) -> Any:
            session.stop()
            return judge.analyze(image, context, frame)

    with pytest.raises(Stopped), Session(microscope, Stopping()) as session:
        session.look(FIELD)
    assert len(microscope.geometries) == 1
    assert _is_off(headless)


def test_fault_66_a_stop_while_a_callback_has_the_beam(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    off: list[bool] = []

    def acquires(_: SessionTarget) -> None:
        session.stop()
        off.append(_is_off(headless))

    with pytest.raises(Stopped), Session(microscope, judge) as session:
        session.acquire(next(session.targets(session.look(FIELD))), acquires, seconds=0.01)
    assert off == [True]
    # A session that has ended does not meddle with the beam.
    headless.stem_controller.SetVal("C_Blank", 0.0)
    session.stop()
    assert not headless.stem_controller.GetVal("C_Blank")


def test_fault_66_ctrl_c_is_a_stop(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    before = _scan_state(headless)

    def press() -> None:
        wait_for(lambda: headless.scan.scan_device.is_scanning)
        _thread.interrupt_main()

    presser = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt), Session(microscope, judge) as session:  # noqa: PT012
        presser.start()
        session.look(msgspec.structs.replace(FIELD, dwell_s=1e-3))
    presser.join()
    assert _is_off(headless)
    assert _scan_state(headless) == before


def test_an_error_of_a_script_leaves_the_beam_off(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    before = _scan_state(headless)

    class OwnError(Exception):
        pass

    def fails(_: object) -> None:
        assert not _is_off(headless)
        raise OwnError

    with pytest.raises(OwnError), Session(microscope, judge) as session:  # noqa: PT012
        target = next(session.targets(session.look(FIELD)))
        session.centre(target)
        session.acquire(target, fails, seconds=0.01)
    assert _is_off(headless)
    assert _scan_state(headless) == before
    with pytest.raises(InputError, match="not open"):
        session.look(FIELD)


def test_fault_67_a_dry_run_does_all_but_act(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer, tmp_path: Path
) -> None:
    limits = Limits(acquisitions=3, dose_per_site_e_per_angstrom2=10 * DOSE)
    with Session(microscope, judge) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
    microscope.geometries.clear()
    headless.stem_controller.SetVal("C_Blank", 0.0)  # would show if the dry run blanked
    before = _scan_state(headless)
    told: list[SessionEvent] = []
    with (
        Recorder.open(tmp_path / "dry.h5", session={}) as record,
        Session(microscope, judge, limits=limits, record=record, dry_run=True) as session,
    ):
        session.events.listen(told.append)
        seen = session.look(FIELD, rule="survey")
        assert seen.result.refusal is not None
        assert seen.result.refusal.code == "dry_run"
        assert np.isnan(seen.frame.image).all()
        assert list(session.targets(seen)) == []
        session.zoom(target, **ZOOM)
        session.centre(target)
        assert session.acquire(target, lambda _: pytest.fail("it acted"), seconds=0.01) is None
        with pytest.raises(LimitReached) as caught:
            session.dwell(target, 0.01)
        assert caught.value.name == "acquisitions"
        assert session.spent.acquisitions == 3
        assert session.spent.max_dose_per_site > DOSE
        session.stop()
    assert not microscope.geometries
    assert not headless.stem_controller.GetVal("C_Blank")
    assert _scan_state(headless) == before
    assert sum("would expose" in event.text for event in told if event.kind == "dry run") == 3
    assert any("would shift" in event.text for event in told)
    with read_record(tmp_path / "dry.h5") as read:
        assert not read.exposures
        assert sum("would expose" in d.action for d in read.decisions) == 3


def test_centre_moves_the_beam_and_keeps_the_coordinates(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    with Session(microscope, judge) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
        session.centre(target)
        shift = headless.stem_controller.GetVal2D("CSH")
        assert (shift.y * 1e9, shift.x * 1e9) == pytest.approx((target.y_nm, target.x_nm))
        zoomed = session.zoom(target, **ZOOM)
        assert zoomed.site is not None
        again = target_of(zoomed, zoomed.site)
        assert (again.y_nm, again.x_nm) == pytest.approx((target.y_nm, target.x_nm), abs=0.02)
    assert tuple(headless.stem_controller.GetVal2D("CSH")) == (0.0, 0.0)


def test_fields_beyond_the_scan_range_are_reached_by_shifting(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    reach = microscope.field_limit_nm / 2
    far = msgspec.structs.replace(FIELD, centre_nm=(reach + 50.0, -20.0))
    with Session(microscope, judge) as session:
        offsets = []
        for request in (FIELD, far):
            view = session.look(request)
            assert view.request == view.frame.request == request
            target = next(session.targets(view))
            offsets.append(microscope.specimen_nm(view, target.site) - (target.y_nm, target.x_nm))
        assert np.abs(offsets[1] - offsets[0]).max() < 0.02
        assert headless.stem_controller.GetVal2D("CSH").y * 1e9 == pytest.approx(reach + 50.0)
        with pytest.raises(InputError, match="wider than the microscope scans"):
            session.look(msgspec.structs.replace(FIELD, field_of_view_nm=3 * reach))
        assert session.spent.acquisitions == 2


def test_the_beam_rests_on_the_target_on_all_channels_and_for_a_callback(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer
) -> None:
    def spectrum(target: SessionTarget) -> str:
        assert not _is_off(headless)
        p, probe = headless.scan.get_current_frame_parameters(), headless.scan.probe_position
        at = [c + (f - 0.5) * p.fov_nm for c, f in zip(tuple(p.center_nm), (probe.y, probe.x), strict=True)]
        assert at == pytest.approx([target.y_nm, target.x_nm], abs=1e-3)
        return f"spectrum of {target.species}"

    with Session(microscope, judge) as session:
        view = session.look(FIELD)
        target = next(session.targets(view))
        assert session.acquire(target, spectrum, seconds=0.01) == f"spectrum of {target.species}"
        assert _is_off(headless)
        assert session.acquire(target, spectrum, seconds=0.01, key="acquire 1") is None
        subscan = session.record_subscan(target, **ZOOM)
        assert set(subscan.frame.images) == {"HAADF", "MAADF"}
        assert subscan.site is not None


def test_a_session_that_goes_on_repeats_no_exposure(
    headless: HeadlessMicroscope, microscope: Scanned, judge: FrameAnalyzer, tmp_path: Path
) -> None:
    path = tmp_path / "record.h5"

    def script(session: Session, zooms: int, dies: bool) -> list[View]:
        view = session.look(FIELD, rule="survey")
        targets = list(session.targets(view, min_probability=0.95))[:zooms]
        views = [view, *[session.zoom(t, **ZOOM, within_angstrom=None) for t in targets]]
        session.dwell(targets[0], 0.01)
        if dies:
            microscope.fails = True
            session.look(msgspec.structs.replace(FIELD, centre_nm=(30.0, 0.0)), key="last")
        return views

    with (
        pytest.raises(OSError, match="the cable"),
        Recorder.open(path, session={}) as record,
        Session(microscope, judge, record=record) as session,
    ):
        script(session, 2, dies=True)
    first, microscope.fails = len(microscope.geometries), False
    with (
        Recorder.open(path, session={}, resume=True) as record,
        Session(microscope, judge, record=record, limits=Limits(acquisitions=6)) as session,
    ):
        assert session.spent.acquisitions == 5  # survey, two zooms, dwell, and the one that failed
        views = script(session, 2, dies=False)
        assert len(microscope.geometries) == first
        assert all(v.replayed for v in views)
        assert all(v.site is not None for v in views[1:])
        lost = session.look(msgspec.structs.replace(FIELD, centre_nm=(30.0, 0.0)), key="last")
        assert lost.result.refusal is not None
        assert lost.result.refusal.code == "interrupted"
        assert len(microscope.geometries) == first
        # What is new is exposed, and the old targets are found again.
        target = next(session.targets(views[0]))
        new = session.zoom(target, **ZOOM, key="one more", within_angstrom=None)
        assert not new.replayed
        assert new.site is not None
        with pytest.raises(LimitReached, match="acquisitions"):
            session.look(FIELD)
    with read_record(path) as read:
        keys = [e.intended.key for e in read.exposures]
        assert keys == ["survey 1", "zoom 1", "zoom 2", "dwell 1", "last", "one more"]
        zoomed = [d for d in read.decisions if d.rule == "zoom"]
        assert zoomed[0].evidence["posterior"]
        assert zoomed[0].action == "found again"
        assert any("OSError: the cable" in n.text for n in read.notes)


def test_the_client_of_a_server_is_a_judge(microscope: Scanned, server: str) -> None:
    with DefectClient(server, timeout_s=60.0) as client, Session(microscope, client) as session:
        view = session.look(FIELD)
        assert view.result.refusal is None
        assert list(session.targets(view))
