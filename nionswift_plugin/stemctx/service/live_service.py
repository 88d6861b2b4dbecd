"""The live service: tap, context, client, results. It has no window, so a script runs the same as the panel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.service.one_run import OneRun
from nionswift_plugin.stemctx.service.own_server import OwnServer
from nionswift_plugin.stemctx.service.saying import Saying
from nionswift_plugin.stemctx.service.standing import standing
from nionswift_plugin.stemctx.service.status import FrameOrigin, LiveSettings, LiveStatus
from nionswift_plugin.stemctx.service.tap import FrameTap
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from realtime.client import DefectClient
from realtime.keys.certificates import load_client_keys
from realtime.recording.recorder import FrameRecorder
from stemctx_core.chemistry import classes
from stemctx_core.closing import Closing
from stemctx_core.errors import StemctxError
from stemctx_core.results import FrameIdentity, FrameResult

logger = logging.getLogger(__name__)

_CLOSE_S: Final = 30.0


class LiveService(Closing):
    """Judges the frames of one channel as they are scanned.

    Parameters
    ----------
    scan_hardware_source, stem_controller
        Nion's scan hardware source and STEM controller.
    settings
        What the user declares.
    address
        Inference server to use; without one the service starts a server process of its own.
    threads
        Of the CPU engine of a server of its own; all cores but one by default.
    key_files
        Secret key file of this client and public one of that server, where it is one with keys.
    recorder
        Keeps every frame with its answer; its owner closes it after the service.
    on_result
        Called with a `FrameResult` and its latency from the last row on (ms) for every result that may be shown,
        on a thread of the client; it must be quick.
    on_state
        Called with the `LiveStatus` whenever something of it changed, on any thread.

    Attributes
    ----------
    own_server
        Used where no address is given.
    """

    def __init__(
        self,
        scan_hardware_source: Any,
        stem_controller: Any,
        settings: LiveSettings,
        *,
        address: str | None = None,
        threads: int | None = None,
        key_files: tuple[Path, Path] | None = None,
        recorder: FrameRecorder | None = None,
        on_result: Callable[[FrameResult, float], None] | None = None,
        on_state: Callable[[LiveStatus], None] | None = None,
    ) -> None:
        self.scan_hardware_source = scan_hardware_source
        self._stem_controller = stem_controller
        self._settings = settings
        self._given_address, self._key_files = address, key_files
        self.own_server = OwnServer(threads)
        self._recorder = recorder
        self._lock = threading.RLock()
        self._saying = Saying(self._lock, on_result, on_state)
        self._run: OneRun | None = None
        self._reader = self._new_reader()

    def __enter__(self) -> Self:
        self.start()
        return self

    @property
    def settings(self) -> LiveSettings:
        """What the user declared last."""
        return self._settings

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._run is not None

    @property
    def is_starting(self) -> bool:
        """Whether the start, such as that of a server, is still under way."""
        run = self._run
        return run is not None and run.is_starting

    @property
    def status(self) -> LiveStatus:
        """The service now."""
        with self._lock:
            recording = None if self._recorder is None else self._recorder.status
            said = replace(self._saying.said, recording=recording)
            return said if self._run is None else standing(self._run, said, self._saying.refusal)

    def start(self) -> None:
        """Start in the background and return at once; what goes wrong becomes the state `failed`."""
        with self._lock:
            if self._run is not None:
                return
            run = self._run = OneRun()
            self._saying.begin()
            run.starter = threading.Thread(
                target=self._start_up, args=(run,), name="stemctx-live-start", daemon=True
            )
            run.starter.start()
        self._notify()

    def wait_started(self, timeout_s: float = 60.0) -> LiveStatus:
        """Wait until starting is over, well or badly, and say how it stands."""
        run = self._run
        if run is not None and run.starter is not None:
            run.starter.join(timeout_s)
        return self.status

    def stop(self) -> None:
        """Stop judging; a server of its own is kept for the next start."""
        with self._lock:
            said = self.status  # with what the run has counted
            run, self._run = self._run, None
            if run is not None:
                run.stopped = True
                self._saying.end(said)
        if run is not None:
            # Outside the lock, because closing waits for threads that may want it.
            run.close()
            self._notify()

    def close(self) -> None:
        """Stop, and end a server of its own. May be called twice."""
        run = self._run
        self._saying.silence()
        self.stop()
        self.own_server.stop()
        if run is not None and run.starter is not None:
            run.starter.join(_CLOSE_S)

    def configure(self, settings: LiveSettings) -> None:
        """Use other settings from the next frame on; another channel is listened to from a new start on."""
        with self._lock:
            again = self._run is not None and settings.channel_index != self._settings.channel_index
            self._settings = settings
            self._reader = self._new_reader()
            if self._run is not None:
                self._run.forget()
        if again:
            self.stop()
            self.start()
        else:
            self._notify()

    @property
    def outdated(self) -> dict[str, str]:
        """Why values that were entered do not hold any more, by quantity."""
        return dict(self._reader.outdated)

    @property
    def callback_ms(self) -> tuple[float, float] | None:
        """How long the newest call on the acquisition thread took, and what of it was computing (ms)."""
        run = self._run
        if run is None or run.tap is None:
            return None
        clock_ns, computing_ns = run.tap.callback_ns
        return clock_ns / 1e6, computing_ns / 1e6

    def origin(self, frame: FrameIdentity) -> FrameOrigin | None:
        """Where the result of a frame belongs, if the frame is among the last ones sent."""
        run = self._run
        return run.ledger.origin(frame) if run is not None else None

    def before(self, frame: FrameIdentity) -> FrameResult | None:
        """What was found in the whole frame before these rows, in the same field; None where there was none."""
        run = self._run
        return run.ledger.before(frame) if run is not None else None

    def frame(self, frame: FrameIdentity) -> TappedFrame | None:
        """The frame that a result on the screen is about, where it is still held."""
        run = self._run
        return run.ledger.frame(frame) if run is not None else None

    def _new_reader(self) -> ContextReader:
        s = self._settings
        return ContextReader(
            self._stem_controller,
            s.host,
            s.dopants,
            expected=s.expected,
            user=s.user,
            entered_for=s.entered_for,
            scan_device=str(self.scan_hardware_source.hardware_source_id),
            controls=s.controls,
        )

    def _start_up(self, run: OneRun) -> None:
        """Server, client, tap, in this order; on a thread of its own, because a server takes seconds to start."""
        try:
            classes.candidates(self._settings.host, self._settings.dopants)
            address = self._given_address or self.own_server.address(lambda: not run.stopped)
            with self._lock:
                if run.stopped:
                    return
                run.client = DefectClient(
                    address,
                    keys=load_client_keys(*self._key_files) if self._key_files else None,
                    recorder=self._recorder,
                    on_result=lambda result, latency_ms: self._answered(run, result, latency_ms),
                    on_state=lambda *_: self._notify(),
                    on_error=lambda _frame, why: self._unanswered(run, why),
                )
                run.tap = FrameTap(
                    self.scan_hardware_source,
                    self._settings.channel_index,
                    lambda frame: self._tapped(run, frame),
                )
        except StemctxError as error:
            self._fail(run, str(error))
        except Exception as error:
            logger.exception("The live service could not start")
            self._fail(run, f"it could not start: {error}")
        self._notify()

    def _tapped(self, run: OneRun, frame: TappedFrame) -> None:
        """Send a frame, on the tap's thread."""
        with self._lock:
            reader, partial = self._reader, self._settings.partial_frames
        if run.wants(frame, partial) and run.client is not None:
            context = reader.read(
                frame.metadata, channel_name=frame.channel_name, pixel_size_nm=frame.pixel_size_nm
            )
            identity = run.sent(frame, self.scan_hardware_source.hardware_source_id)
            run.client.submit(frame.data, context, identity, since_ns=frame.received_ns)
        self._notify()

    def _answered(self, run: OneRun, result: FrameResult, latency_ms: float) -> None:
        """Pass a result on if it may be shown, on the client's thread."""
        with self._lock:
            if run.stopped:
                return
            run.answered(result.frame)
            shown = run.ledger.accept(result)
            self._saying.answered(result, latency_ms, shown)
        if shown:
            self._saying.tell_result(result, latency_ms)
        self._notify()

    def _unanswered(self, run: OneRun, why: str) -> None:
        with self._lock:
            run.answered(None)
            if not run.stopped:
                self._saying.refusal = why
        self._notify()

    def _fail(self, run: OneRun, reason: str) -> None:
        with self._lock:
            if not run.stopped:
                self._saying.fail(reason)

    def _notify(self) -> None:
        self._saying.tell_state(lambda: self.status)
