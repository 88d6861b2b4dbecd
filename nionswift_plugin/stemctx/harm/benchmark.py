"""What live flags cost Nion Swift: its acquisition thread, its window, its scan rate, its documents, its memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import psutil
from nion.swift import Facade
from nion.utils import Registry

from nionswift_plugin.stemctx.harm.report import HarmReport
from nionswift_plugin.stemctx.harm.swift import counted_writes, loaded, panel, swift
from stemctx_core.errors import ServerUnavailable

_TICK_S: Final = 0.01
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class HarmPlan:
    """What to measure; see `stemctx benchmark swift --help`."""

    side_px: int
    dwell_us: float
    frames: int
    turns: int
    cycles: int
    partial: bool


@dataclass
class _Turn:
    """One turn of the scan."""

    ends_s: list[float] = field(default_factory=list)
    callbacks_ms: list[float] = field(default_factory=list)
    callbacks_cpu_ms: list[float] = field(default_factory=list)
    copies_ms: list[float] = field(default_factory=list)

    @property
    def frames_per_s(self) -> float:
        """From the end of the first frame to that of the last."""
        return (len(self.ends_s) - 1) / (self.ends_s[-1] - self.ends_s[0])


def measure(plan: HarmPlan, say: Callable[[str], None]) -> HarmReport:
    """Run the benchmark.

    Parameters
    ----------
    say
        Told what is under way.
    """
    Facade.initialize()
    leaks = _leaks(plan, say)
    off: list[_Turn] = []
    on: list[_Turn] = []
    writes = {"off": 0, "on": 0}
    with (
        swift() as context,
        loaded(plan.side_px, plan.dwell_us) as plug_in,
        panel(context) as window,
        counted_writes() as written,
    ):
        scan = Registry.get_component("scan_hardware_source")
        plug_in.settings.change(msgspec.structs.replace(plug_in.remembered, partial_frames=plan.partial))
        plug_in.window_opened(window)
        _play(window, scan, 2, lambda: None)  # makes the live image, which is a document
        items = len(context.document_model.data_items)
        answered = 0
        plug_in.start()
        _pump(window, lambda: plug_in.service is not None and plug_in.service.status.answered > 1)
        scan.abort_playing(sync_timeout=10.0)
        run_ms: list[float] = []
        cpu_ms: list[float] = []
        for turn in range(plan.turns):
            say(f"scanning, turn {turn + 1} of {plan.turns}")
            plug_in.stop()
            before = written[0]
            off.append(_play(window, scan, plan.frames, lambda: None))
            writes["off"] += written[0] - before
            plug_in.service.start()
            plug_in.service.wait_started()
            plug_in.ui.run_ms.clear()
            plug_in.ui.run_cpu_ms.clear()
            before, answered_before = written[0], plug_in.service.status.answered
            on.append(_play(window, scan, plan.frames, lambda: plug_in.service.callback_ms))
            writes["on"] += written[0] - before
            # On a busy machine the first answer comes after the last frame.
            _pump(window, lambda since=answered_before: plug_in.service.status.answered > since)  # type: ignore[misc]
            answered += plug_in.service.status.answered - answered_before
            run_ms += plug_in.ui.run_ms
            cpu_ms += plug_in.ui.run_cpu_ms
        made = len(context.document_model.data_items) - items
        plug_in.stop()
    return HarmReport(
        side_px=plan.side_px,
        frames=plan.frames * plan.turns,
        answered=answered,
        callback_ms=[ms for turn in on for ms in turn.callbacks_ms],
        callback_cpu_ms=[ms for turn in on for ms in turn.callbacks_cpu_ms],
        copy_ms=[ms for turn in on for ms in turn.copies_ms],
        window_run_ms=run_ms,
        window_cpu_ms=cpu_ms,
        frames_per_s_off=float(np.median([t.frames_per_s for t in off])),
        frames_per_s_on=float(np.median([t.frames_per_s for t in on])),
        writes_off=writes["off"],
        writes_on=writes["on"],
        documents_made=made,
        cycles=plan.cycles,
        leaks=leaks,
        load_average=psutil.getloadavg()[0],
    )


def _leaks(plan: HarmPlan, say: Callable[[str], None]) -> str:
    """Load and unload the plug-in again and again, and say what is left."""
    if not plan.cycles:
        return ""
    before = set(threading.enumerate())
    try:
        with swift() as context:
            for cycle in range(plan.cycles):
                say(f"loading and unloading, {cycle + 1} of {plan.cycles}")
                with loaded(plan.side_px, plan.dwell_us), panel(context) as window:
                    window.periodic()
                context.document_controller.periodic()
    except AssertionError as error:
        return f"Nion's leak checks: {error}"
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("stemctx")]
    return f"threads: {', '.join(left)}" if left else ""


def _play(window: Any, scan: Any, frames: int, callback_ms: Callable[[], tuple[float, float] | None]) -> _Turn:
    """Scan some whole frames while the window runs."""
    turn = _Turn()

    def came(args: Any, xdata: Any) -> None:
        # Listeners are called in the order they came, so that of the plug-in has just run.
        took = callback_ms()
        if took is not None:
            turn.callbacks_ms.append(took[0])
            turn.callbacks_cpu_ms.append(took[1])
        start = time.perf_counter_ns()
        np.array(xdata.data, copy=True)
        turn.copies_ms.append((time.perf_counter_ns() - start) / 1e6)
        if args.state == "complete" and len(turn.ends_s) <= frames:
            turn.ends_s.append(time.monotonic())

    listener = scan.data_channel_updated_event.listen(came)
    try:
        scan.start_playing(sync_timeout=10.0)
        _pump(window, lambda: len(turn.ends_s) > frames)
    finally:
        scan.abort_playing(sync_timeout=10.0)
        del listener
    window.periodic()
    return turn


def _pump(window: Any, until: Callable[[], bool]) -> None:
    """Run the window until something is so."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not until():
        window.periodic()
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"No frames were scanned and answered within {_TIMEOUT_S:g} s.")
        time.sleep(_TICK_S)
