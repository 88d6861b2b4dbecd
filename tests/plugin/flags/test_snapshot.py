"""Snapshots: image, results and graphics in a project that anybody can open."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nion.data import Calibration
from nion.swift.model import Graphics

from nionswift_plugin.stemctx.flags import snapshot as module
from nionswift_plugin.stemctx.flags.snapshot import METADATA_KEY, MOST_POINTS, snapshot
from nionswift_plugin.stemctx.overlay.composite import FlagsGraphic
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from stemctx_core.look.colours import ROLE_COLOURS
from stemctx_core.results import Decision
from tests.plugin.results import SHAPE, judged
from tests.plugin.swift import swift


@lru_cache(maxsize=1)
def frame() -> TappedFrame:
    judged()
    return TappedFrame(
        data=np.random.default_rng(0).poisson(100, SHAPE).astype(np.float32),
        valid_rows=SHAPE[0],
        shape=SHAPE,
        complete=True,
        scan_id="scan",
        frame_index=3,
        channel_name="HAADF",
        data_channel_id="a",
        metadata={"scan": {"scan_id": "scan", "fov_nm": 5.0}, "instrument": {"high_tension": 8e4}},
        pixel_size_nm=(5.0 / 256, 5.0 / 256),
        received_ns=0,
        calibrations=tuple(Calibration.Calibration(-1.0, 5.0 / 256, "nm") for _ in range(2)),
    )


def points(display_item: Any) -> list[Any]:
    return [g for g in display_item.graphics if isinstance(g, Graphics.PointGraphic)]


def test_a_snapshot_holds_image_results_and_points(tmp_path: Path) -> None:
    result, tapped = judged(), frame()
    flags = result.where(Decision.FLAG)
    with swift(tmp_path) as s:
        item = snapshot(s.document_model, tapped, result, ShownRule())
        assert item in s.document_model.data_items
        assert np.array_equal(item.data, tapped.data)
        assert not np.shares_memory(item.data, tapped.data)
        assert [c.units for c in item.dimensional_calibrations] == ["nm", "nm"]
        assert item.dimensional_calibrations[1].scale == pytest.approx(5.0 / 256)
        assert item.title.startswith("HAADF with flags (")
        assert item.metadata["instrument"]["high_tension"] == 8e4
        told = item.metadata[METADATA_KEY]
        assert json.loads(json.dumps(told)) == json.loads(json.dumps(told)), "it can be saved"
        assert told["format"] == 1
        assert told["flags"] == result.flag_counts()
        assert told["model"] == result.model
        assert told["shown"] == len(flags)
        assert {(row["y_px"], row["x_px"]) for row in told["sites_shown"]} == {
            (round(float(result.sites.y_px[i]), 3), round(float(result.sites.x_px[i]), 3)) for i in flags
        }
        display = s.document_model.get_display_item_for_data_item(item)
        assert len(points(display)) == len(display.graphics) == len(flags)
        drawn = {
            (
                round(p.position[0] * SHAPE[0] - 0.5, 2),
                round(p.position[1] * SHAPE[1] - 0.5, 2),
                p.label.split()[0],
                p.stroke_color,
            )
            for p in points(display)
        }
        assert drawn == {
            (
                round(float(result.sites.y_px[i]), 2),
                round(float(result.sites.x_px[i]), 2),
                result.species(int(i)),
                ROLE_COLOURS[result.role(int(i))],
            )
            for i in flags
        }
        assert all(p.is_position_locked for p in points(display))


def test_only_what_is_shown_is_kept(tmp_path: Path) -> None:
    result, tapped = judged(), frame()
    with swift(tmp_path) as s:
        item = snapshot(s.document_model, tapped, result, ShownRule(probability=2.0))
        told = item.metadata[METADATA_KEY]
        assert told["sites_shown"] == []
        assert told["shown_by"]["probability"] == 2.0
        assert not s.document_model.get_display_item_for_data_item(item).graphics
        assert item.title == "HAADF with flags (none)"


def test_many_flags_are_a_few_points_and_one_graphic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, tapped = judged(), frame()
    count = len(result.where(Decision.FLAG))
    assert MOST_POINTS == 50
    monkeypatch.setattr(module, "MOST_POINTS", 2)
    with swift(tmp_path) as s:
        item = snapshot(s.document_model, tapped, result, ShownRule())
        display = s.document_model.get_display_item_for_data_item(item)
        assert len(points(display)) == 2
        (others,) = (g for g in display.graphics if isinstance(g, FlagsGraphic))
        assert len(others.drawn) == count - 2
        by_points = {(round(p.position[0], 5), round(p.position[1], 5)) for p in points(display)}
        assert not by_points & {(round(m.y, 5), round(m.x, 5)) for m in others.drawn}
