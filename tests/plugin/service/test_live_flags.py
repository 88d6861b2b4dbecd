"""From scan to flags on the live image: the whole way, in Nion Swift without a window."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nionswift_plugin.stemctx.overlay.composite import GRAPHIC_ID, FlagsGraphic
from nionswift_plugin.stemctx.plug_in import LOADED
from nionswift_plugin.stemctx.service.status import FlagAge, LiveState
from tests.plugin.swift import Swift, loaded, swift


def flags_graphics(s: Swift) -> list[Any]:
    display = s.live_display()
    return [] if display is None else [g for g in display.graphics if g.graphic_id == GRAPHIC_ID]


def drawn(s: Swift) -> Any:
    return next((g for g in flags_graphics(s) if g.drawn), None)


def test_flags_appear_once_and_go_with_stop(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.start()
    graphic = s.pump(lambda: drawn(s))
    assert isinstance(graphic, FlagsGraphic)
    answered = plug_in.service.status.answered
    s.pump(lambda: plug_in.service.status.answered >= answered + 2)
    assert len(s.live_display().graphics) == 1
    assert all(0 <= m.y <= 1 and 0 <= m.x <= 1 for m in graphic.drawn)
    s.pump(lambda: plug_in.model.flags_title.value != "No flags")
    s.pump(lambda: plug_in.model.state.value == LiveState.LIVE.value)
    assert "HAADF" in plug_in.model.channels.value
    assert "80 kV (frame metadata)" in plug_in.model.quantity["high_tension_kv"].value or "80 kV" in (
        plug_in.model.quantity["high_tension_kv"].value
    )
    assert "instrument" in plug_in.model.quantity["inner_mrad"].value
    plug_in.stop()
    s.window.periodic()
    assert not s.live_display().graphics
    assert plug_in.model.state.value == LiveState.OFF.value
    assert plug_in.model.flags_title.value == "No flags"
    assert s.scan.is_playing


def test_flags_go_when_the_field_changes(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: drawn(s))
    s.scan.abort_playing(sync_timeout=60.0)
    parameters = s.scan.get_current_frame_parameters()
    parameters.center_nm = (30.0, 10.0)
    s.scan.set_current_frame_parameters(parameters)
    before = {m for g in flags_graphics(s) for m in g.drawn}
    s.scan.start_playing(sync_timeout=60.0)
    s.pump(lambda: not any(before & set(g.drawn) for g in flags_graphics(s)))
    graphic = s.pump(lambda: drawn(s))
    assert not before & set(graphic.drawn)


def test_fault_08_results_faster_than_the_window_are_painted_five_times_a_second_at_most(
    ready: tuple[Swift, Any],
) -> None:
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: drawn(s))
    s.hold(plug_in)
    shown, painted = plug_in.feed.result, len(plug_in.paint_ms)
    offered, started = 0, time.monotonic()
    while time.monotonic() - started < 2.0 or offered <= 20:
        newest = dataclasses.replace(shown, timing_ms={"offered": float(offered)})
        plug_in.screen.result_came(newest, 1.0)
        offered += 1
        s.window.periodic()
        time.sleep(1 / 60)
    s.pump(lambda: plug_in.feed.result.timing_ms == newest.timing_ms)
    elapsed = time.monotonic() - started
    assert len(plug_in.paint_ms) - painted <= elapsed / 0.2 + 1


def test_fault_44_while_rows_arrive_flags_of_the_frame_before_are_fainter_below_them(
    ready: tuple[Swift, Any],
) -> None:
    s, plug_in = ready
    plug_in.settings.change(msgspec.structs.replace(plug_in.remembered, partial_frames=True))
    parameters = s.scan.get_current_frame_parameters()
    parameters.pixel_time_us = 60.0  # 4 s a frame
    s.scan.set_current_frame_parameters(parameters)
    plug_in.start()

    def both() -> Any:
        graphic = drawn(s)
        ages = {m.older for m in graphic.drawn} if graphic is not None else set()
        return graphic.drawn if ages == {True, False} else None

    markers = s.pump(both)
    feed = plug_in.feed
    assert feed.before is not None
    assert feed.result.frame.valid_rows < feed.result.frame.shape[0]
    assert max(m.y for m in markers if not m.older) < min(m.y for m in markers if m.older) + 0.05
    s.pump(lambda: drawn(s) and feed.before is None and not any(m.older for m in drawn(s).drawn))


def test_a_host_that_was_not_declared_is_refused_in_words(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.model.host_index.value = plug_in.model.hosts.value.index("MoTe2")
    plug_in.start()
    s.pump(lambda: plug_in.model.state.value == LiveState.REFUSING.value)
    assert plug_in.model.reason.value
    assert not flags_graphics(s) or not flags_graphics(s)[0].drawn
    s.pump(lambda: plug_in.service.status.flags is not FlagAge.STALE)


def test_another_host_is_used_from_the_next_frame_on(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: drawn(s))
    s.hold(plug_in)  # so that nothing comes in between
    plug_in.model.candidates.value = "V, Ti"
    assert plug_in.remembered.dopants == ("V", "Ti")
    s.pump(lambda: not flags_graphics(s))
    s.scan.start_playing(sync_timeout=60.0)
    s.pump(lambda: drawn(s))
    assert plug_in.feed.result.context.dopants == ("V", "Ti")


@pytest.mark.parametrize(("entered", "said"), [("Xx", "Xx"), ("W", "metal of WSe2"), ("V, V", "twice")])
def test_candidates_that_cannot_be_are_said_and_not_taken(
    ready: tuple[Swift, Any], entered: str, said: str
) -> None:
    _, plug_in = ready
    plug_in.model.candidates.value = entered
    assert said in plug_in.model.problem.value
    assert plug_in.remembered.dopants == ("V",)


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with swift(tmp_path) as s, loaded() as plug_in:
        plug_in.remembered = msgspec.structs.replace(plug_in.remembered, address="tcp://127.0.0.1:9")
        plug_in.window_opened(s.window)
        plug_in.start()
        s.pump(lambda: plug_in.model.state.value == LiveState.CONNECTING.value)
        s.pump(lambda: plug_in.service.status.scanned >= 1)
        assert not flags_graphics(s)
        s.scan.abort_playing(sync_timeout=60.0)


def test_fault_53_unloading_while_live_leaves_nothing(tmp_path: Path, server_address: str) -> None:
    """The hardest order: everything is running when the plug-in goes."""
    with swift(tmp_path) as s, loaded() as plug_in:
        plug_in.remembered = msgspec.structs.replace(plug_in.remembered, address=server_address)
        plug_in.window_opened(s.window)
        scan = s.scan
        updated = scan.data_channel_updated_event
        before = updated.listener_count
        plug_in.start()
        s.pump(lambda: drawn(s))
        display = s.live_display()
        LOADED.close()
        assert updated.listener_count == before
        assert not display.graphics
        scan.abort_playing(sync_timeout=60.0)


def test_the_scan_device_goes_while_live(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: drawn(s))
    from nionswift_plugin.stemctx_simulator import exchange

    s.scan.abort_playing(sync_timeout=60.0)
    exchange.withdraw()
    s.pump(lambda: "usim" in " ".join(plug_in.model.devices.value).lower() and plug_in.service is None)
    assert plug_in.model.state.value == LiveState.OFF.value


def test_fault_53_a_data_item_deleted_while_live_comes_back_with_flags(ready: tuple[Swift, Any]) -> None:
    s, plug_in = ready
    plug_in.start()
    s.pump(lambda: drawn(s))
    s.document_model.remove_data_item(s.live_display().data_item)
    s.pump(lambda: drawn(s))
    assert len(s.live_display().graphics) == 1
