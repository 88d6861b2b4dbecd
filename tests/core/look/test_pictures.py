"""The overlay picture."""

from __future__ import annotations

import colorsys
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.look import pictures
from stemctx_core.look.pictures import ROLE_STYLE, overlay_png, write_overlay
from stemctx_core.results import (
    DECISIONS,
    CalibrationSummary,
    Decision,
    FrameIdentity,
    FrameResult,
    Refusal,
    SiteTable,
)

SITES = {"V_W": (20.0, 30.0), "vac_Se": (60.0, 90.0), "W": (100.0, 100.0)}


def found(**changes: Any) -> FrameResult:
    volts = Known(80.0, Source.USER)
    context = ImagingContext("WSe2", ("V",), volts, volts, volts, volts)
    names = [c.species for c in context.candidates]
    best = np.array([names.index(n) for n in SITES], np.int16)
    n = len(best)
    table = SiteTable(
        y_px=np.array([y for y, _ in SITES.values()], np.float32),
        x_px=np.array([x for _, x in SITES.values()], np.float32),
        sublattice=np.array([0, 1, 0], np.int8),
        posterior=np.eye(len(names), dtype=np.float32)[best],
        best=best,
        decision=np.array([DECISIONS.index(d) for d in (Decision.FLAG, Decision.FLAG, Decision.PASS)], np.int8),
        reason=np.zeros(n, np.int16),
    )
    result = FrameResult(
        frame=FrameIdentity(), context=context, candidates=context.candidates, sites=table,
        calibration=CalibrationSummary(0.25, 1.0, 0.0, 0.4, 1e5, 0.8, 0.8, 0.05, 0.05),
    )  # fmt: skip
    return replace(result, **changes)


def pixels(png: bytes) -> Any:
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def colours_near(picture: Any, colour: str) -> int:
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return int(np.sum(np.abs(picture - wanted).max(axis=-1) < 0.06))


FRAME = np.random.default_rng(0).poisson(10, (128, 160)).astype(np.uint16)


def test_every_flagged_role_is_drawn_in_its_colour_and_no_other() -> None:
    picture = pixels(overlay_png(FRAME, found(), "frame 1"))
    drawn = {role for role, (colour, *_) in ROLE_STYLE.items() if colours_near(picture, colour) > 15}
    assert {role.value for role in drawn} == {"D_M", "vac_X"}


def test_markers_stand_on_their_sites() -> None:
    """A frame that is black but for the site: the marker must surround the bright pixel."""
    frame = np.zeros((128, 160), np.float32)
    frame[20, 30] = 1.0
    picture = pixels(overlay_png(frame, found()))
    colour = ROLE_STYLE[found().role(0)][0]
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    height = picture.shape[0]
    marker = np.argwhere(np.abs(picture - wanted).max(axis=-1) < 0.06)
    marker = marker[marker[:, 0] < 0.75 * height]  # without the legend
    bright = np.argwhere(picture[: int(0.5 * height)].min(axis=-1) > 0.99)
    inside = bright[(np.abs(bright - marker.mean(axis=0)) < 20).all(axis=1)]
    assert len(inside)
    assert np.abs(inside.mean(axis=0) - marker.mean(axis=0)).max() < 4


@pytest.mark.parametrize(
    ("frame", "result"),
    [
        (np.full((50, 30), np.nan), found(refusal=Refusal("not_finite", "NaN.", "Crop."), calibration=None)),
        (np.zeros((1, 1)), found(sites=SiteTable.empty(7), calibration=None)),
        (np.ones((40, 400)), found(sites=SiteTable.empty(7))),
        (FRAME, found(calibration=None)),
    ],
    ids=["refused", "one pixel", "constant and wide", "no calibration"],
)
def test_any_frame_can_be_drawn(frame: Any, result: FrameResult) -> None:
    assert pixels(overlay_png(frame, result)).size


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "overlay.png"
    write_overlay(path, FRAME, found())
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.png"]
    before = path.read_bytes()

    def fail(*_: Any) -> bytes:
        raise ValueError("no picture")

    monkeypatch.setattr(pictures, "overlay_png", fail)
    with pytest.raises(ValueError, match="no picture"):
        write_overlay(path, FRAME, found())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.png"]


def test_markers_differ_in_shape_and_in_lightness_order_not_in_hue_alone() -> None:
    assert len({marker for _, marker, _ in ROLE_STYLE.values()}) == len(ROLE_STYLE)
    assert len({colour for colour, *_ in ROLE_STYLE.values()}) == len(ROLE_STYLE)
    for colour, *_ in ROLE_STYLE.values():
        assert colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1] > 0.25


def test_drawing_needs_no_pyplot_and_no_display() -> None:
    code = "import sys, stemctx_core.look.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
