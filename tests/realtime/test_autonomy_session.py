"""A session on the real simulated microscope, judged by the real analyzer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from nionswift_plugin.stemctx.microscope import NionMicroscope
from realtime.autonomy.limits import LimitReached, Limits, Stopped
from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.autonomy.record import Recorder, read_record
from realtime.autonomy.session import Session, SessionEvent, TargetLost, View
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.scan_device import shot
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.classes import Role
from stemctx_core.errors import InputError

#: 6 nm at 1e5 e/Å² in a fifth of a second.
FIELD = ScanRequest((0.0, 0.0), 6.0, (256, 256), 3e-6)
DOSE = 1e5
CURRENT_PA = DOSE * (60 / 256) ** 2 * 1.602176634e-19 / 3e-6 * 1e12
ZOOM: dict[str, Any] = {"field_of_view_nm": 4.0, "shape": (192, 192), "dwell_s": 3e-6}


class Scanned(NionMicroscope):
    """Keeps where each frame lay on the specimen."""

    def scan(self, request: ScanRequest) -> ScannedFrame:
        frame = super().scan(request)
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


@pytest.fixture(scope="module")
def judge() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


@pytest.fixture(scope="module")
def headless() -> Iterator[HeadlessMicroscope]:
    settings = MicroscopeSettings(probe_current_pa=CURRENT_PA, drift_nm_per_s=(0.0, 0.0), fov_nm=6.0)
    with HeadlessMicroscope(settings) as opened:
        yield opened


@pytest.fixture
def microscope(headless: HeadlessMicroscope) -> Iterator[Scanned]:
    headless.stem_controller.drift_nm_per_s = (0.0, 0.0)
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
    finally:
        headless.stem_controller.SetVal("BeamCurrent", CURRENT_PA * 1e-12)
    assert min(drifted) > 1.3
    assert max(landed) < 0.5, landed
    assert max(found) < 0.25, found
