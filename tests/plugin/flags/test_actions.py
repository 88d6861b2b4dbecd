"""Centring, zooming and subscans: where they land on the specimen, against what the scan was rendered with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nionswift_plugin.stemctx.flags import actions
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.shot import shot
from stemctx_core.errors import InputError

SETTINGS = MicroscopeSettings(size=(128, 128), fov_nm=5.0, drift_nm_per_s=(0.0, 0.0))


@pytest.fixture(scope="module")
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(SETTINGS) as opened:
        opened.scan.set_current_frame_parameters(opened.frame_parameters())
        yield opened


CONTEXTS: dict[str, dict[str, Any]] = {
    "square": {"pixel_size": (128, 128)},
    "wide and rotated": {"pixel_size": (96, 128), "rotation_rad": 0.5, "center_nm": (1.0, -2.0)},
    "high and rotated": {"pixel_size": (128, 64), "rotation_rad": -1.2, "center_nm": (-3.0, 0.5)},
    "subscan": {
        "pixel_size": (128, 128),
        "center_nm": (2.0, 2.0),
        "rotation_rad": 0.3,
        "subscan_pixel_size": (64, 64),
        "subscan_fractional_size": (0.5, 0.5),
        "subscan_fractional_center": (0.6, 0.4),
        "subscan_rotation": 0.2,
    },
}


def specimen_nm(frame: Any, y_px: float, x_px: float) -> Any:
    geometry = shot(frame.metadata).geometry
    assert geometry is not None
    return geometry.to_specimen_nm(np.array([[y_px, x_px]]))[0]


@pytest.mark.parametrize("changes", CONTEXTS.values(), ids=CONTEXTS)
def test_what_was_at_a_pixel_is_in_the_middle_afterwards(
    microscope: HeadlessMicroscope, changes: dict[str, Any]
) -> None:
    (frame,) = microscope.record(**{"fov_nm": 5.0, **changes})
    shape = frame.data.shape
    y, x = 0.3 * shape[0], 0.7 * shape[1]
    wanted = specimen_nm(frame, y, x)
    area = actions.scanned_area(frame.metadata, shape)
    at = actions.place_nm(area, y, x)
    actions.centre(microscope.scan, at, 2.0)
    parameters = microscope.scan.get_current_frame_parameters()
    assert parameters.fov_nm == 2.0
    (closer,) = microscope.scan.record_immediate(parameters)
    middle = [(n - 1) / 2 for n in closer.data.shape]
    assert specimen_nm(closer, *middle) == pytest.approx(wanted, abs=0.02)

    (part,) = actions.record_subscan(microscope.scan, area, at, side_nm=0.8)
    middle = [(n - 1) / 2 for n in part.data.shape]
    assert specimen_nm(part, *middle) == pytest.approx(wanted, abs=0.05)
    geometry = shot(part.metadata).geometry
    assert geometry is not None
    sides = [n * geometry.pixel_size_nm for n in part.data.shape]
    assert sides == pytest.approx([0.8, 0.8], rel=0.05)
    assert min(part.data.shape) >= 64


def test_a_subscan_at_the_border_is_moved_inside(microscope: HeadlessMicroscope) -> None:
    (frame,) = microscope.record(fov_nm=5.0, pixel_size=(128, 128))
    area = actions.scanned_area(frame.metadata, frame.data.shape)
    at = actions.place_nm(area, 0.0, 127.0)
    (part,) = actions.record_subscan(microscope.scan, area, at, side_nm=1.0)
    scan = part.metadata["scan"]
    for middle, size in zip(scan["subscan_fractional_center"], scan["subscan_fractional_size"], strict=True):
        assert size == pytest.approx(0.2)
        assert middle - size / 2 >= -1e-9
        assert middle + size / 2 <= 1 + 1e-9
    assert specimen_nm(part, -0.5, part.data.shape[1] - 0.5) == pytest.approx(
        specimen_nm(frame, -0.5, 127.5), abs=0.02
    )


def test_a_zoom_never_widens_the_field(microscope: HeadlessMicroscope) -> None:
    microscope.scan.set_current_frame_parameters(microscope.frame_parameters(fov_nm=1.5))
    actions.centre(microscope.scan, (0.0, 0.0), 4.0)
    assert microscope.scan.get_current_frame_parameters().fov_nm == 1.5


def test_a_frame_that_does_not_say_its_field_is_said() -> None:
    with pytest.raises(InputError, match="does not say which field"):
        actions.scanned_area({"scan": {}}, (8, 8))
