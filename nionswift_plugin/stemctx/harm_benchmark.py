"""What live flags cost Nion Swift: its acquisition thread, its window, its scan rate, its documents, its memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from nion.instrumentation.test import AcquisitionTestContext
from nion.swift import Facade, Panel
from nion.swift.model import FileStorageSystem, PlugInManager
from nion.swift.test import TestContext
from nion.usim_device import DeviceConfiguration
from nion.utils import Registry

from nionswift_plugin.stemctx import plug_in as plug_in_module
from nionswift_plugin.stemctx.panel import PANEL_ID, PANEL_NAME
from nionswift_plugin.stemctx_simulator import exchange
from sim.instrument import MicroscopeSettings
from stemctx_core.errors import ServerUnavailable

CALLBACK_MS: Final = 1.0
WINDOW_MS: Final = 2.0
RATE_CHANGE: Final = 0.01
_PIXEL_NM: Final = 5.0 / 256
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


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    measured: str
    target: str
    met: bool


class HarmReport(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes
    ----------
    callback_ms
        Each call on the acquisition thread, partial frames too.
    copy_ms
        A bare copy of the frame on the same thread, each time: what a busy machine makes of the least there is to do.
    window_run_ms, window_cpu_ms
        Each time that the window's thread worked for us, and what of it was computing.
    frames_per_s_off, frames_per_s_on
        Median over the turns.
    writes_off, writes_on
        Documents written while the scan ran, Nion Swift's own too.
    leaks
        What Nion's leak checks and a look at the threads said; empty where nothing is left.
    """

    side_px: int
    frames: int
    answered: int
    callback_ms: list[float]
    copy_ms: list[float]
    window_run_ms: list[float]
    window_cpu_ms: list[float]
    frames_per_s_off: float
    frames_per_s_on: float
    writes_off: int
    writes_on: int
    documents_made: int
    cycles: int
    leaks: str
    load_average: float

    @property
    def window_ms_per_frame(self) -> float:
        """Time that the window's thread worked for us, over the frames."""
        return sum(self.window_run_ms) / max(1, self.frames)

    @property
    def window_cpu_ms_per_frame(self) -> float:
        """What of it was computing."""
        return sum(self.window_cpu_ms) / max(1, self.frames)

    @property
    def rate_change(self) -> float:
        """Relative change of the scan rate."""
        return self.frames_per_s_on / self.frames_per_s_off - 1

    def lines(self) -> list[Line]:
        """Figures against their targets."""
        p50, p99 = np.percentile(self.callback_ms, (50, 99))
        run50, run99 = np.percentile(self.window_run_ms, (50, 99))
        return [
            Line(
                "callback on the acquisition thread",
                f"p50 {p50:.3f} ms, p99 {p99:.3f} ms of {len(self.callback_ms)} calls; "
                f"a bare copy p99 {np.percentile(self.copy_ms, 99):.3f} ms",
                f"p99 ≤ {CALLBACK_MS:g} ms",
                bool(p99 <= CALLBACK_MS),
            ),
            Line(
                "work of the window",
                f"{self.window_ms_per_frame:.2f} ms a frame, {self.window_cpu_ms_per_frame:.2f} ms of it computing; one run p50 {run50:.2f}, p99 {run99:.2f} ms",
                f"≤ {WINDOW_MS:g} ms a frame",
                self.window_ms_per_frame <= WINDOW_MS,
            ),
            Line(
                "scan rate",
                f"{self.frames_per_s_off:.3f} off, {self.frames_per_s_on:.3f} on ({self.rate_change:+.2%})",
                f"within {RATE_CHANGE:.0%}",
                abs(self.rate_change) <= RATE_CHANGE,
            ),
            Line(
                "documents written during the scan",
                f"{self.writes_off} off, {self.writes_on} on, {self.documents_made} made",
                "none a frame",
                self.writes_on - self.writes_off < self.frames // 2 and self.documents_made == 0,
            ),
            Line(f"leaks over {self.cycles} loads and unloads", self.leaks or "none", "none", not self.leaks),
        ]

    def summary(self) -> dict[str, object]:
        """Ready for JSON."""
        lines = self.lines()
        return {
            "side_px": self.side_px,
            "frames": self.frames,
            "answered": self.answered,
            "calls": len(self.callback_ms),
            "callback_ms": _quantiles(self.callback_ms),
            "copy_ms": _quantiles(self.copy_ms),
            "window_ms_per_frame": round(self.window_ms_per_frame, 4),
            "window_cpu_ms_per_frame": round(self.window_cpu_ms_per_frame, 4),
            "window_run_ms": _quantiles(self.window_run_ms),
            "frames_per_s": {"off": self.frames_per_s_off, "on": self.frames_per_s_on},
            "rate_change": round(self.rate_change, 5),
            "writes": {"off": self.writes_off, "on": self.writes_on},
            "documents_made": self.documents_made,
            "cycles": self.cycles,
            "leaks": self.leaks,
            "load_average": self.load_average,
            "targets": {line.what: line.target for line in lines},
            "met": {line.what: line.met for line in lines},
        }


@dataclass
class _Turn:
    """One turn of the scan."""

    ends_s: list[float] = field(default_factory=list)
    callbacks_ms: list[float] = field(default_factory=list)
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
    with _swift() as context, _loaded(plan) as plug_in, _panel(context) as window, _counted_writes() as written:
        scan = Registry.get_component("scan_hardware_source")
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
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
    )


def _leaks(plan: HarmPlan, say: Callable[[str], None]) -> str:
    """Load and unload the plug-in again and again, and say what is left."""
    if not plan.cycles:
        return ""
    before = set(threading.enumerate())
    try:
        with _swift() as context:
            for cycle in range(plan.cycles):
                say(f"loading and unloading, {cycle + 1} of {plan.cycles}")
                with _loaded(plan), _panel(context) as window:
                    window.periodic()
                context.document_controller.periodic()
    except AssertionError as error:
        return f"Nion's leak checks: {error}"
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("stemctx")]
    return f"threads: {', '.join(left)}" if left else ""


@contextlib.contextmanager
def _swift() -> Iterator[Any]:
    """Nion Swift without a display, with Nion's own leak checks around it."""
    AcquisitionTestContext.begin_leaks()
    setup = TestContext.TestSetup()
    try:
        with tempfile.TemporaryDirectory(prefix="stemctx-swift-") as directory:
            configuration = DeviceConfiguration.AcquisitionContextConfiguration(
                set_configuration_location=False
            )
            configuration.configuration_location = directory  # an empty one switches Nion's instruments off
            with AcquisitionTestContext.test_context(configuration, is_app=True) as context:
                yield context
    finally:
        del setup
    AcquisitionTestContext.end_leaks(unittest.TestCase())


@contextlib.contextmanager
def _loaded(plan: HarmPlan) -> Iterator[Any]:
    """Both plug-ins, as Nion Swift loads and unloads them."""
    side = plan.side_px
    exchange.install(MicroscopeSettings(size=(side, side), fov_nm=side * _PIXEL_NM, dwell_us=plan.dwell_us))
    try:
        for name in ("stemctx_simulator", "stemctx"):
            module = PlugInManager.load_plug_in("nionswift_plugin", f"nionswift_plugin.{name}")
            if module is None:
                raise ServerUnavailable(f"Nion Swift did not load its plug-in {name}; its log says why.")
            module.run()
        plug_in = plug_in_module.current()
        assert plug_in is not None
        scan = Registry.get_component("scan_hardware_source")
        scan.set_current_frame_parameters(scan.get_frame_parameters(1))
        yield plug_in
    finally:
        PlugInManager.unload_plug_ins()


@contextlib.contextmanager
def _panel(context: Any) -> Iterator[Any]:
    """The window, with the panel of the flags in it."""
    window, manager = context.document_controller, Panel.PanelManager()
    properties = manager.get_panel_info(PANEL_ID)[3]
    panel = manager.create_panel_content(window, PANEL_ID, PANEL_NAME, ["left", "right"], "right", properties)
    try:
        yield window
    finally:
        panel.close()
        window.periodic()


@contextlib.contextmanager
def _counted_writes() -> Iterator[list[int]]:
    """Count what Nion Swift writes of its documents."""
    written, kind = [0], FileStorageSystem.MemoryStorageHandler
    kept = {name: getattr(kind, name) for name in ("write_properties", "write_data")}

    def counted(write: Any) -> Any:
        def count(*args: Any, **kwargs: Any) -> Any:
            written[0] += 1
            return write(*args, **kwargs)

        return count

    for name, write in kept.items():
        setattr(kind, name, counted(write))
    try:
        yield written
    finally:
        for name, write in kept.items():
            setattr(kind, name, write)


def _play(window: Any, scan: Any, frames: int, callback_ms: Callable[[], float | None]) -> _Turn:
    """Scan some whole frames while the window runs."""
    turn = _Turn()

    def came(args: Any, xdata: Any) -> None:
        # Listeners are called in the order they came, so that of the plug-in has just run.
        took = callback_ms()
        if took is not None:
            turn.callbacks_ms.append(took)
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


def _quantiles(values: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
