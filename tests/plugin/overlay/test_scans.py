"""Flags drawn on frames of every shape, rotation and part, against where the defects were scanned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.overlay.composite import FlagsGraphic
from nionswift_plugin.stemctx.overlay.markers import markers
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.scoring import score
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.results import FrameIdentity
from tests.plugin.overlay.test_overlay import commands

#: Height and width, rotation, and the part of the scan that is scanned, if it is one.
SCANS: dict[str, dict[str, Any]] = {
    "wide": {"pixel_size": (160, 256)},
    "high and rotated": {"pixel_size": (256, 160), "rotation_rad": 0.7},
    "subscan": {
        "pixel_size": (256, 256),
        "fov_nm": 10.0,
        "subscan_pixel_size": (256, 192),
        "subscan_fractional_size": (0.5, 0.375),
        "subscan_fractional_center": (0.4, 0.6),
    },
    "rotated subscan": {
        "pixel_size": (256, 256),
        "fov_nm": 10.0,
        "rotation_rad": -0.4,
        "subscan_pixel_size": (192, 192),
        "subscan_fractional_size": (0.4, 0.4),
        "subscan_fractional_center": (0.55, 0.45),
        "subscan_rotation": 0.3,
    },
}


@pytest.fixture(scope="module")
def microscope() -> Iterator[HeadlessMicroscope]:
    with HeadlessMicroscope(MicroscopeSettings(size=(256, 256), fov_nm=5.0)) as opened:
        yield opened


@pytest.mark.parametrize("changes", SCANS.values(), ids=SCANS)
def test_flags_are_drawn_where_the_defects_were_scanned(
    microscope: HeadlessMicroscope, changes: dict[str, Any]
) -> None:
    """From the specimen to the widget, by the way of this Nion Swift."""
    (frame,) = microscope.record(**{"fov_nm": 5.0, **changes})
    height, width = frame.data.shape
    assert (height, width) == tuple(changes.get("subscan_pixel_size", changes["pixel_size"]))
    pixel_nm = frame.dimensional_calibrations[1].scale
    reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
    context = reader.read(frame.metadata, pixel_size_nm=(pixel_nm, pixel_nm))
    identity = FrameIdentity("scan", 0, height, (height, width))
    result = FrameAnalyzer.shipped().analyze(frame.data, context, identity)
    assert result.refusal is None, result.refusal
    graphic = FlagsGraphic()
    graphic.show(markers(result), False)
    arcs = np.array([c[1:3] for c in commands(graphic) if c[0] == "arc"], float)[::2]
    graphic.close()
    # `Mapping` shows the image as 200 by 400 points, and pixel 0 is half a pixel in.
    drawn_px = np.stack([arcs[:, 1] / 200 * height, arcs[:, 0] / 400 * width], axis=1) - 0.5
    truth = microscope.ground_truth(frame.metadata)
    known = score(result, truth).strict
    assert known.right > 1
    assert known.precision == 1.0
    nearest = cKDTree(truth.positions_px).query(drawn_px)[0] * pixel_nm
    assert nearest.max() < 0.05, "a ring stands beside its column"
