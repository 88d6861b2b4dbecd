from __future__ import annotations

import numpy as np
import pytest

from realtime.autonomy.microscope import Microscope, ScanRequest
from sim.autonomy import ScriptedMicroscope
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.scan_device import shot
from stemctx_core.context import Known, Source
from stemctx_core.errors import InputError, LibraryError


def test_a_script_scans_parks_and_blanks() -> None:
    settings = MicroscopeSettings(probe_current_pa=1000.0)
    with HeadlessMicroscope(settings) as headless:
        microscope: Microscope = ScriptedMicroscope(headless)
        context = microscope.context().validated()
        assert context.high_tension_kv == Known(80.0, Source.INSTRUMENT, "control EHT")
        assert context.value("inner_mrad") == 70.0
        request = ScanRequest((3.0, -2.0), 4.0, (64, 128), 2e-6, 0.3)
        scanned = microscope.scan(request)
        assert scanned.image.shape == (64, 128)
        assert scanned.image.any()
        assert scanned.frame.shape == (64, 128)
        assert scanned.frame.scan_id
        assert scanned.context.value("pixel_size_angstrom") == pytest.approx(40 / 128)
        assert scanned.context.value("dose_e_per_angstrom2") == pytest.approx(
            1e-9 * 2e-6 / 1.602e-19 / (40 / 128) ** 2, rel=1e-3
        )
        again = microscope.scan(request)
        assert again.frame.scan_id != scanned.frame.scan_id
        assert not np.shares_memory(again.image, scanned.image)
        headless.scan.set_current_frame_parameters(headless.frame_parameters(fov_nm=8.0, pixel_size=(64, 64)))
        microscope.park((0.0, 2.0))
        probe = headless.scan.probe_position
        assert (probe.y, probe.x) == pytest.approx((0.5, 0.75))
        with pytest.raises(InputError, match="outside the field"):
            microscope.park((0.0, 9.0))
        microscope.blank()
        (dark,) = headless.record()
        assert not dark.data.any()
        assert not shot(dark.metadata).error
        assert microscope.scan(request).image.any()
        headless.stem_controller.SetVal("EHT", 300e3)
        with pytest.raises(LibraryError, match="300 kV"):
            microscope.scan(request)
