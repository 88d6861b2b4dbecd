"""The graphic: what it draws in both ways of Nion Swift, and how it comes to a display and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nion.swift.model import DataItem, Graphics, UISettings
from nion.ui import DrawingContext
from nion.utils import Geometry

from nionswift_plugin.stemctx.overlay.composite import GRAPHIC_ID, FlagsGraphic, FlagsOverlay
from nionswift_plugin.stemctx.overlay.drawing import LARGE_RADIUS, MOST_LABELS, draw_markers
from nionswift_plugin.stemctx.overlay.label_sides import label_sides
from nionswift_plugin.stemctx.overlay.markers import Marker, markers
from nionswift_plugin.stemctx.service.status import FrameOrigin
from stemctx_core.chemistry.classes import HOST_ROLES, Role
from stemctx_core.look.colours import ROLE_COLOURS
from stemctx_core.results import Decision
from tests.plugin.results import SHAPE, judged
from tests.plugin.swift import Swift, swift

ORIGIN = FrameOrigin("some_scan", "a", ("field",), 1, 1)
ONE = (Marker(0.25, 0.5, 0.02, 0.015, "#0072B2", "vac_Se2 0.98"),)


class Mapping:
    """An image of 200 by 400 points in the widget."""

    def map_point_image_norm_to_widget(self, p: Any) -> Any:
        return Geometry.FloatPoint(p.y * 200, p.x * 400)

    def map_size_image_norm_to_widget(self, s: Any) -> Any:
        return Geometry.FloatSize(s.height * 200, s.width * 400)


class Settings(UISettings.UISettings):
    """Measures text as Nion's own tests do."""

    def get_font_metrics(self, font: str, text: str) -> Any:
        return UISettings.FontMetrics(7 * len(text), 12, 9, 3, 0)


def commands(graphic: FlagsGraphic) -> list[Any]:
    ctx = DrawingContext.DrawingContext()
    graphic.draw(ctx, Settings(), Mapping(), False, False)
    return list(ctx.commands)


def test_every_flag_has_a_marker_at_its_place_in_the_colour_of_its_role() -> None:
    result = judged()
    flags = result.where(Decision.FLAG)
    drawn = markers(result)
    assert len(drawn) == len(flags) > 3
    for marker, i in zip(drawn, flags, strict=True):
        assert marker.y * SHAPE[0] - 0.5 == pytest.approx(float(result.sites.y_px[i]), abs=1e-3)
        assert marker.x * SHAPE[1] - 0.5 == pytest.approx(float(result.sites.x_px[i]), abs=1e-3)
        assert marker.colour == ROLE_COLOURS[result.role(int(i))]
        assert marker.label == f"{result.species(int(i))} {float(result.sites.probability[i]):.2f}"
        # Round on the image, whatever its shape.
        assert marker.radius_y * SHAPE[0] == pytest.approx(marker.radius_x * SHAPE[1])


def test_every_role_has_a_colour_and_no_two_defects_the_same() -> None:
    assert set(ROLE_COLOURS) == set(Role)
    defects = [ROLE_COLOURS[r] for r in Role if r not in HOST_ROLES]
    assert len(set(defects)) == len(defects)


def test_the_graphic_draws_rings_and_labels_by_the_way_of_this_nion_swift() -> None:
    """`draw` takes the way of the version that is installed: `_draw` up to 16.17, a renderer from 16.18 on."""
    graphic = FlagsGraphic()
    graphic.show(ONE, False)
    said = commands(graphic)
    arcs = [c for c in said if c[0] == "arc"]
    assert [tuple(c[1:4]) for c in arcs] == [(200.0, 50.0, pytest.approx(6.0))]
    assert any("vac_Se2 0.98" in str(c) for c in said)
    names = [c[0] for c in said]
    assert names[names.index("arc") - 1] == "moveTo", "an arc without a start begins in the corner of the image"
    graphic.close()


def test_a_snapshot_keeps_what_it_was_taken_of() -> None:
    if not hasattr(Graphics, "GraphicRenderer"):
        pytest.skip("this Nion Swift draws without snapshots")
    graphic = FlagsGraphic()
    graphic.show(ONE, False)
    snapshot = graphic.get_renderer()
    graphic.show((), False)
    ctx = DrawingContext.DrawingContext()
    snapshot.draw(ctx, Settings(), Mapping(), False, False)
    assert any(c[0] == "arc" for c in ctx.commands)
    assert not any(c[0] == "arc" for c in commands(graphic))
    graphic.close()


def test_dimmed_flags_are_drawn_fainter() -> None:
    bright, dim = DrawingContext.DrawingContext(), DrawingContext.DrawingContext()
    draw_markers(bright, Settings(), Mapping(), ONE, False)
    draw_markers(dim, Settings(), Mapping(), ONE, True)
    assert "rgba(0,114,178,1.00)" in str(bright.commands)
    assert "rgba(0,114,178,0.40)" in str(dim.commands)


def test_only_flags_of_the_frame_before_are_drawn_fainter_while_rows_arrive() -> None:
    ctx = DrawingContext.DrawingContext()
    both = (ONE[0], ONE[0]._replace(y=0.75, colour="#D55E00", older=True))
    draw_markers(ctx, Settings(), Mapping(), both, False)
    assert "rgba(0,114,178,1.00)" in str(ctx.commands)
    assert "rgba(213,94,0,0.40)" in str(ctx.commands)
    assert "rgba(213,94,0,1.00)" not in str(ctx.commands)


def test_very_many_flags_have_labels_only_where_they_are_shown_large() -> None:
    def texts(flags: int, radius: float) -> int:
        ctx = DrawingContext.DrawingContext()
        some = ONE[0]._replace(radius_y=radius / 200, radius_x=radius / 400)
        draw_markers(ctx, Settings(), Mapping(), (some,) * flags, False)
        assert sum(c[0] == "arc" for c in ctx.commands) == flags
        return sum(c[0] == "fillText" for c in ctx.commands)

    assert texts(MOST_LABELS, 6.0) == MOST_LABELS
    assert texts(MOST_LABELS + 1, 6.0) == 0
    assert texts(MOST_LABELS + 1, LARGE_RADIUS) == MOST_LABELS + 1


def test_the_graphic_takes_no_clicks() -> None:
    graphic = FlagsGraphic()
    graphic.show(ONE, False)
    assert graphic.test(Mapping(), Settings(), Geometry.FloatPoint(50, 200), False) == (None, False)
    graphic.close()


def test_labels_keep_off_neighbouring_rings_and_inside_the_image() -> None:
    y, x = np.array([10.0, 10.0, 30.0]), np.array([10.0, 14.0, 58.0])
    sides = label_sides(y, x, ["vac_Se 1.00"] * 3, 60.0)
    assert sides[0] != (0, 1)  # another ring stands there
    assert sides[2] == (0, -1)  # the image ends there


def test_a_label_below_a_ring_at_the_border_stays_inside_the_image() -> None:
    ctx = DrawingContext.DrawingContext()
    draw_markers(ctx, Settings(), Mapping(), (ONE[0]._replace(x=0.99, side_y=1, side_x=0),), False)
    (_, left, _, width, _), *_ = [c for c in ctx.commands if c[0] == "rect"]
    assert left + width == pytest.approx(400.0)


def with_live_item(s: Swift) -> Any:
    data_item = DataItem.new_data_item(np.zeros((8, 16), np.float32))
    s.document_model.append_data_item(data_item)
    s.document_model.setup_channel(s.document_model.make_data_item_reference_key("some_scan", "a"), data_item)
    return s.document_model.get_display_item_for_data_item(data_item)


def test_paint_again_dim_and_clear(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        display = with_live_item(s)
        overlay = FlagsOverlay()
        assert overlay.paint([s.document_model], ORIGIN, ONE) == 1
        graphic = display.graphics[0]
        assert overlay.paint([s.document_model], ORIGIN, ONE * 3) == 1
        assert list(display.graphics) == [graphic]
        assert len(graphic.drawn) == 3
        before = graphic.modified_count
        overlay.dim()
        assert graphic.dimmed
        assert graphic.modified_count > before, "it would not be drawn again"
        overlay.clear()
        overlay.clear()
        assert not display.graphics


def test_a_missing_graphic_of_a_saved_project_is_replaced(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        display = with_live_item(s)
        left = Graphics.MissingGraphic(GRAPHIC_ID)
        left.graphic_id = GRAPHIC_ID
        display.add_graphic(left)
        overlay = FlagsOverlay()
        overlay.paint([s.document_model], ORIGIN, ONE)
        assert [type(g) for g in display.graphics] == [FlagsGraphic]
        overlay.clear()


def test_a_data_item_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        overlay = FlagsOverlay()
        assert overlay.paint([s.document_model], ORIGIN, ONE) == 0
        display = with_live_item(s)
        overlay.paint([s.document_model], ORIGIN, ONE)
        s.document_model.remove_data_item(display.data_item)
        overlay.dim()
        overlay.clear()
        assert overlay.paint([s.document_model], ORIGIN, ONE) == 0


def test_flags_move_to_the_subscan_with_the_scan(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        display = with_live_item(s)
        data_item = DataItem.new_data_item(np.zeros((8, 8), np.float32))
        s.document_model.append_data_item(data_item)
        s.document_model.setup_channel(
            s.document_model.make_data_item_reference_key("some_scan", "a_subscan"), data_item
        )
        overlay = FlagsOverlay()
        overlay.paint([s.document_model], ORIGIN, ONE)
        overlay.paint([s.document_model], FrameOrigin("some_scan", "a_subscan", ("other",), 2, 2), ONE)
        assert not display.graphics
        assert len(s.document_model.get_display_item_for_data_item(data_item).graphics) == 1
        overlay.clear()


def test_nothing_of_the_graphic_is_written_to_the_data(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        display = with_live_item(s)
        overlay = FlagsOverlay()
        modified = display.data_item.modified
        overlay.paint([s.document_model], ORIGIN, ONE)
        overlay.clear()
        assert display.data_item.modified == modified
