"""A live run on the simulated microscope: what Nion Swift does with a column, without a window and with the truth.

The service, the wire and the server process are those of the plug-in; only who listens is another.
"""

from __future__ import annotations

import queue
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nionswift_plugin.stemctx.live.report import JudgedFrame, LiveReport
from nionswift_plugin.stemctx.service.live_service import LiveService
from nionswift_plugin.stemctx.service.status import LiveSettings, LiveState, LiveStatus
from nionswift_plugin.stemctx.service.tap import FrameTap
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from nionswift_plugin.stemctx.threads.interrupts import Interrupts, interrupts
from realtime.recording.recorder import FrameRecorder
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from sim.scoring import score
from stemctx_core.errors import ServerUnavailable
from stemctx_core.results import FrameResult

#: After the last frame, or without one: how long the server may stay silent.
PATIENCE_S: Final = 30.0
_START_S: Final = 300.0
_FRAMES_KEPT: Final = 64

Answer = tuple[FrameResult, float]


class LiveRun:
    """Scans a number of frames and scores what is said of them.

    Parameters
    ----------
    settings
        The microscope.
    frames
        How many whole frames to scan.
    on_frame
        Called for every answered frame.
    on_progress
        Called with the frames scanned so far, the one under way as a fraction.
    address
        Inference server to use; without one a process of its own is started.
    threads
        Of the CPU engine of that process; all cores but one by default.
    key_files
        As `nionswift_plugin.stemctx.service.live_service.LiveService` takes them.
    record
        HDF5 file to record frames, context and results to.
    """

    def __init__(
        self,
        settings: MicroscopeSettings,
        frames: int,
        *,
        on_frame: Callable[[JudgedFrame], None],
        on_progress: Callable[[float], None] = lambda _: None,
        address: str | None = None,
        threads: int | None = None,
        key_files: tuple[Path, Path] | None = None,
        record: Path | None = None,
    ) -> None:
        self.report = LiveReport(settings)
        self._wanted = frames
        self._on_frame = on_frame
        self._on_progress = on_progress
        self._address, self._threads, self._key_files = address, threads, key_files
        self._record = record
        self._events: queue.SimpleQueue[TappedFrame | Answer] = queue.SimpleQueue()
        self._scanned: OrderedDict[str, TappedFrame] = OrderedDict()
        self._waiting: list[Answer] = []
        self._whole = 0
        self._last_is_under_way = False

    def run(self) -> LiveReport:
        """Start everything, scan, wait for the last answer, and take everything down.

        Raises
        ------
        ServerUnavailable
            Where the server does not start or never answers.
        StemctxError
            Where the microscope cannot be set up as asked for.
        """
        settings = self.report.settings
        declared = LiveSettings(host=settings.host, dopants=(settings.dopant,) if settings.dopant else ())
        with (
            interrupts() as pressed,
            HeadlessMicroscope(settings) as microscope,
            self._recording() as recorder,
        ):
            scan = microscope.scan
            tap = FrameTap(scan, 0, self._events.put)
            service = LiveService(
                scan,
                microscope.stem_controller,
                declared,
                address=self._address,
                threads=self._threads,
                key_files=self._key_files,
                recorder=recorder,
                on_result=lambda result, latency_ms: self._events.put((result, latency_ms)),
            )
            try:
                with service:
                    _wait_started(service, pressed)
                    if not pressed.noted:
                        scan.start_playing(sync_timeout=10.0)
                        self._follow(service, microscope, pressed)
            except KeyboardInterrupt:  # the second one
                pressed.noted = True
            finally:
                self.report.interrupted = pressed.noted
                tap.close()
        return self.report

    @contextmanager
    def _recording(self) -> Iterator[FrameRecorder | None]:
        """Open a recording, where one is asked for; at its end the report says what became of it."""
        if self._record is None:
            yield None
            return
        recorder = FrameRecorder(self._record)
        try:
            yield recorder
        finally:
            recorder.close()
            self.report.recording = recorder.status

    def _follow(self, service: LiveService, microscope: HeadlessMicroscope, pressed: Interrupts) -> None:
        """Take what comes until the last frame is answered, or Ctrl-C."""
        scan = microscope.scan
        stopping = False
        quiet_since = time.monotonic()
        while not pressed.noted:
            try:
                event = self._events.get(timeout=0.1)
            except queue.Empty:
                pass
            else:
                self._take(event, microscope)
                if isinstance(event, tuple):
                    quiet_since = time.monotonic()
            status = service.status
            self.report.scanned, self.report.replaced = status.scanned, status.replaced
            if not stopping and self._last_is_under_way:
                scan.stop_playing()  # at the end of the frame
                stopping = True
            # What was counted as answered may still lie in the queue.
            owed = status.scanned > status.answered + status.replaced
            idle = not owed and self._events.empty() and not self._waiting
            if idle and status.scanned >= self._wanted:
                return
            if not owed and scan.is_playing:
                quiet_since = time.monotonic()
            if status.state is LiveState.FAILED or time.monotonic() - quiet_since > PATIENCE_S:
                if self.report.latencies_ms and status.scanned >= self._wanted:
                    return
                raise ServerUnavailable(self._no_answer(status))

    def _no_answer(self, status: LiveStatus) -> str:
        """Why nothing came, and what to do about it; a service that failed says so itself."""
        if status.state is LiveState.FAILED:
            return f"Live flagging has failed. {status.reason}"
        said = f"No answer came in {PATIENCE_S:g} s ({status.state}: {status.reason or 'no reason given'})."
        if self._address is not None:
            return f"{said} See whether the server runs: stemctx doctor --server {self._address}"
        return f"{said} Run 'stemctx serve' by itself to see what the inference server says."

    def _take(self, event: TappedFrame | Answer, microscope: HeadlessMicroscope) -> None:
        if isinstance(event, tuple):
            self._waiting.append(event)
        else:
            if event.complete:
                self._scanned[event.scan_id] = event
                while len(self._scanned) > _FRAMES_KEPT:
                    self._scanned.popitem(last=False)
                self._whole += 1
            under_way = 0.0 if event.complete else event.valid_rows / event.shape[0]
            self._last_is_under_way = self._whole + (under_way > 0) >= self._wanted
            self._on_progress(min(self._whole + under_way, float(self._wanted)))
        # The service and we listen on threads of our own: a frame may come after its result.
        waiting, self._waiting = self._waiting, []
        for result, latency_ms in waiting:
            frame = self._scanned.pop(result.frame.scan_id, None)
            if frame is None:
                self._waiting.append((result, latency_ms))
                continue
            scored = score(result, microscope.ground_truth(frame.metadata))
            number = len(self.report.latencies_ms) + 1
            judged = JudgedFrame(number, result, latency_ms, scored, frame.data)
            self.report.add(judged)
            self._on_frame(judged)


def _wait_started(service: LiveService, pressed: Interrupts) -> None:
    end = time.monotonic() + _START_S
    while service.is_starting and not pressed.noted and time.monotonic() < end:
        service.wait_started(0.1)
    status = service.status
    if (
        status.state is LiveState.FAILED and not pressed.noted
    ):  # a server that is just starting may take Ctrl-C too
        raise ServerUnavailable(f"The live service could not start: {status.reason}")
