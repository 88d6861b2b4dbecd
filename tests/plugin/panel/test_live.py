"""The panel while frames come: thresholds on what is shown, freeze, channels that change, controls of other names."""

from __future__ import annotations

from typing import Any

from nionswift_plugin.stemctx.overlay.composite import GRAPHIC_ID
from nionswift_plugin.stemctx.service.shown import shown_sites
from nionswift_plugin.stemctx.service.status import LiveState
from nionswift_plugin.stemctx.window.panel_model import PROBABILITY_STEPS
from stemctx_core.results import Decision
from tests.plugin.swift import Swift


def graphic_of(s: Swift) -> Any:
    display = s.live_display()
    found = [] if display is None else [g for g in display.graphics if g.graphic_id == GRAPHIC_ID]
    return found[0] if found else None


def drawn(s: Swift) -> Any:
    graphic = graphic_of(s)
    return graphic.drawn if graphic is not None else None


def test_a_threshold_filters_what_is_shown_without_another_frame(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    s.hold(plug_in)
    result = plug_in.feed.result
    flags = result.where(Decision.FLAG)
    assert len(drawn(s)) == len(flags)
    told: list[int] = []
    listener = plug_in.feed.rule_changed.listen(lambda: told.append(len(told)))
    role = result.role(int(flags[0]))
    plug_in.model.roles[role.name].value = False
    left = shown_sites(result, plug_in.feed.rule)
    assert plug_in.feed.result is result
    assert len(drawn(s)) == len(left) < len(flags)
    assert f"{len(flags) - len(left)} hidden" in plug_in.model.flags_title.value
    plug_in.model.roles[role.name].value = True
    assert len(drawn(s)) == len(flags)
    plug_in.model.probability.value = PROBABILITY_STEPS
    assert all(result.sites.probability[i] == 1.0 for i in shown_sites(result, plug_in.feed.rule))
    assert len(drawn(s)) == len(shown_sites(result, plug_in.feed.rule))
    plug_in.model.probability.value = 0
    assert len(drawn(s)) == len(flags)
    assert len(told) == 4
    listener.close()


def test_freeze_keeps_result_and_flags_while_the_scan_goes_on(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    plug_in.freeze()
    assert plug_in.model.freeze.value == "Go on"
    kept, flags, answered = plug_in.feed.result, drawn(s), plug_in.service.status.answered
    s.pump(lambda: plug_in.service.status.answered >= answered + 3)
    s.pump(lambda: graphic_of(s).dimmed)
    assert plug_in.feed.result is kept
    assert drawn(s) == flags
    move(s, (30.0, 10.0))
    s.pump(lambda: graphic_of(s) is None)
    answered = plug_in.service.status.answered
    s.pump(lambda: plug_in.service.status.answered >= answered + 2)
    assert graphic_of(s) is None
    assert plug_in.feed.result is kept
    move(s, (0.0, 0.0))
    s.pump(lambda: drawn(s) == flags)
    plug_in.freeze()
    assert plug_in.model.freeze.value == "Freeze"
    s.pump(lambda: plug_in.feed.result is not kept)


def move(s: Swift, centre_nm: tuple[float, float]) -> None:
    s.scan.abort_playing(sync_timeout=60.0)
    parameters = s.scan.get_current_frame_parameters()
    parameters.center_nm = centre_nm
    s.scan.set_current_frame_parameters(parameters)
    s.scan.start_playing(sync_timeout=60.0)


def test_fault_45_a_channel_is_followed_by_its_name(live: tuple[Swift, Any]) -> None:
    s, plug_in = live
    s.scan.set_channel_enabled(1, True)
    s.pump(lambda: plug_in.model.channels.value == ["HAADF", "MAADF"])
    rename(s, "MAADF", "HAADF")
    s.pump(lambda: plug_in.model.channels.value == ["MAADF", "HAADF"])
    assert plug_in.model.channel_index.value == plug_in.service.settings.channel_index == 1
    s.pump(lambda: plug_in.feed.origin is not None and plug_in.feed.origin.data_channel_id == "b")
    s.pump(lambda: plug_in.feed.result is not None and plug_in.feed.result.context.channel == "HAADF")
    rename(s, "MAADF", "Annular")
    s.pump(lambda: plug_in.model.channels.value == ["MAADF", "Annular"])
    assert plug_in.remembered.channel_name == "Annular"
    assert plug_in.service.settings.channel_index == 1
    s.pump(lambda: plug_in.feed.result is not None and plug_in.feed.result.context.channel == "Annular")
    # Its angles are no longer found under its name, so that they can be entered.
    s.pump(lambda: plug_in.model.can_enter["inner_mrad"].value)
    assert "Annular_InnerAngle" in plug_in.model.quantity_tip["inner_mrad"].value
    plug_in.model.controls["inner"].value = "HAADF_InnerAngle"
    s.pump(lambda: "instrument control" in plug_in.model.quantity["inner_mrad"].value)
    assert not plug_in.model.can_enter["inner_mrad"].value
    plug_in.model.controls["outer"].value = "HAADF_OuterAngle"
    s.pump(lambda: plug_in.model.state.value == LiveState.LIVE.value)
    s.scan.set_channel_enabled(1, False)
    s.pump(lambda: plug_in.model.channels.value == ["MAADF", "Annular (off)"])
    s.pump(lambda: plug_in.model.state.value == LiveState.STALE.value)
    assert "Annular is switched off" in plug_in.model.reason.value


def rename(s: Swift, *names: str) -> None:
    """The scan device gives its channels other names, and says so as hardware does."""
    device = s.scan.scan_device
    channels = device._Device__channels[: len(names)]
    for channel, name in zip(channels, names, strict=True):
        channel.name = name
    device.on_device_state_changed(
        [s.scan.get_frame_parameters(i) for i in range(3)],
        [(channel.name, channel.enabled) for channel in channels],
    )
