"""The tab with the session's numbers, in Nion Swift without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nion.ui import Declarative

from nionswift_plugin.stemctx.panel.panel import PanelHandler
from nionswift_plugin.stemctx.panel.statistics_tab import StatisticsHandler
from nionswift_plugin.stemctx.service.status import FrameOrigin
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.settings import Settings, SettingsFile
from stemctx_core.results import Decision
from tests.plugin.results import judged
from tests.plugin.swift import swift

TITLES = ("Defect density", "Distances between defects", "Latency and dose")


def clicks(handler: StatisticsHandler) -> None:
    handler.counts_clicked(None)
    handler.distances_clicked(None)
    handler.latency_clicked(None)


def test_numbers_plots_and_file(tmp_path: Path) -> None:
    result = judged()
    with swift(tmp_path) as s:
        feed = LiveFeed()
        handler = StatisticsHandler(feed, Settings(SettingsFile(None)), s.window)
        try:
            clicks(handler)
            assert not s.document_model.data_items
            assert handler.said.value
            for number in range(4):
                feed.statistics.add(result, number, latency_ms=50.0 + number, passes=number + 1)
            handler.update()
            assert handler.frames.value == "4"
            assert len(handler.counts.value) == len(result.flag_counts())
            assert all("cm⁻²" in line for line in handler.counts.value)
            assert "nm" in handler.distance.value
            clicks(handler)
            assert sorted(item.title for item in s.document_model.data_items) == sorted(TITLES)
            feed.statistics.add(result, 9, latency_ms=70.0)
            clicks(handler)
            items = {item.title: item for item in s.document_model.data_items}
            assert sorted(items) == sorted(TITLES), "a plot was made twice"
            density = items["Defect density"]
            assert density.data.shape == (len(result.flag_counts()), 5)
            assert np.all(density.data >= 0)
            display = s.document_model.get_display_item_for_data_item(density)
            assert display.display_type == "line_plot"
            assert [layer.label for layer in display.display_layers] == sorted(result.flag_counts())
            assert items["Latency and dose"].data[0, -1] == pytest.approx(70.0)
            s.window.periodic()
            handler.export(tmp_path / "session.csv")
            assert (tmp_path / "session.csv").read_text().count("\n") == 6
            handler.clear_clicked(None)
            assert handler.frames.value == "none yet"
        finally:
            handler.close()


def test_a_tab_that_nobody_sees_is_brought_up_to_date_when_it_is_seen(tmp_path: Path) -> None:
    result = judged()
    with swift(tmp_path) as s:
        feed = LiveFeed()
        panel = PanelHandler(PanelModel(), None, feed, Settings(SettingsFile(None)), s.window)  # type: ignore[arg-type]
        widget = Declarative.DeclarativeWidget(s.window.ui, s.window.event_loop, panel)
        try:
            origin = FrameOrigin("some_scan", "a", ("field",), 1, 1)
            feed.show(result, origin)
            flags, statistics = panel.handlers["flags"], panel.handlers["statistics"]
            assert not flags.rows
            panel.tab.value = 1
            assert len(flags.rows) == len(result.where(Decision.FLAG))
            assert statistics.frames.value == "none yet"
            panel.tab.value = 2
            assert statistics.frames.value == "1"
            feed.show(None)
            assert flags.rows, "nobody sees them"
        finally:
            widget.close()
