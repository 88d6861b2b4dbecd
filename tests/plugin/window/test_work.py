"""How long painting and listing keep the window's thread; ``pytest -s`` prints the figures."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nion.swift.model import DataItem
from nion.ui import Declarative

from nionswift_plugin.stemctx.flags.flag_list import FlagListHandler
from nionswift_plugin.stemctx.overlay.composite import FlagsOverlay
from nionswift_plugin.stemctx.overlay.markers import markers
from nionswift_plugin.stemctx.service.status import FrameOrigin
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.settings import Settings, SettingsFile
from stemctx_core.results import DECISIONS, Decision, FrameResult
from tests.plugin.results import judged
from tests.plugin.swift import swift

FLAGS, FRAMES = 60, 100
ORIGIN = FrameOrigin("some_scan", "a", ("field",), 1, 1)


def frames() -> list[FrameResult]:
    """Results with many flags, each frame drifted a little."""
    result = judged()
    rng, n = np.random.default_rng(0), len(result.sites)
    decision = result.sites.decision.copy()
    decision[rng.choice(n, FLAGS, replace=False)] = DECISIONS.index(Decision.FLAG)
    drift = rng.normal(0, 0.1, (FRAMES, n)).astype(np.float32)
    return [
        dataclasses.replace(
            result,
            sites=dataclasses.replace(result.sites, decision=decision, y_px=result.sites.y_px + d),
        )
        for d in drift
    ]


def cpu_ms(step: Callable[[FrameResult], object], results: list[FrameResult]) -> list[float]:
    times = []
    for result in results:
        start = time.thread_time_ns()
        step(result)
        times.append((time.thread_time_ns() - start) / 1e6)
    return sorted(times)


def test_many_flags_are_painted_as_fast_as_few(tmp_path: Path) -> None:
    results = frames()
    drawn = {id(r): markers(r) for r in results}  # on a thread of the client
    with swift(tmp_path) as s:
        item = DataItem.new_data_item(np.zeros((192, 256), np.float32))
        s.document_model.append_data_item(item)
        s.document_model.setup_channel(s.document_model.make_data_item_reference_key("some_scan", "a"), item)
        display = s.document_model.get_display_item_for_data_item(item)
        s.window.workspace_controller.display_panels[0].set_display_panel_display_item(display)
        overlay, feed = FlagsOverlay(), LiveFeed()
        handler = FlagListHandler(feed, Settings(SettingsFile(None)), s.window)
        widget = Declarative.DeclarativeWidget(s.window.ui, s.window.event_loop, handler)
        with s.document_model.item_transaction(item):  # as while it is acquired
            painting = cpu_ms(lambda r: overlay.paint([s.document_model], ORIGIN, drawn[id(r)]), results)
            few = cpu_ms(lambda r: overlay.paint([s.document_model], ORIGIN, drawn[id(r)][:6]), results)
            listing = cpu_ms(lambda r: feed.show(r, ORIGIN), results)
        assert len(handler.rows) >= FLAGS
        assert len(display.graphics[0].drawn) == 6
        overlay.clear()
        widget.close()
    for name, times in (("paint", painting), ("list", listing)):
        p99 = times[int(0.99 * len(times))]
        print(f"{name}: median {statistics.median(times):.2f} ms, p99 {p99:.2f} ms of the window's thread")
    # A graphic for each flag would cost ten times as much for ten times as many.
    assert statistics.median(painting) < 3 * statistics.median(few)
