"""The live service: tap, context, client, results. It has no window, so a script runs the same as the panel.

A result is shown when it belongs to the field that is being scanned now and is newer than the last one shown. The
scan gives every pass of the beam a new scan id, and the next pass has usually begun when a result comes; so it is
the field (channel, size, field of view, centre, rotation) that must still be the same, not the pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from nionswift_plugin.stemctx.context_reader import ContextReader
from nionswift_plugin.stemctx.status import FlagAge, FrameOrigin, LiveSettings, LiveState, LiveStatus
from nionswift_plugin.stemctx.tap import FrameTap, TappedFrame
from nionswift_plugin.stemctx.throttle import Throttle
from realtime.client import ClientState, DefectClient
from realtime.supervisor import LocalServer
from stemctx_core import classes
from stemctx_core.errors import StemctxError
from stemctx_core.results import FrameIdentity, FrameResult

logger = logging.getLogger(__name__)

_ORIGINS_KEPT = 64
_STATES = {
    ClientState.OFF: LiveState.OFF,
    ClientState.CONNECTING: LiveState.CONNECTING,
    ClientState.LIVE: LiveState.LIVE,
    ClientState.STALE: LiveState.STALE,
    ClientState.REFUSED: LiveState.FAILED,
    ClientState.FAILED: LiveState.FAILED,
}


class LiveService:
    """Judges the frames of one channel as they are scanned.

    Parameters
    ----------
    scan_hardware_source, stem_controller
        Nion's scan hardware source and STEM controller.
    settings
        What the user declares.
    address
        Inference server to use; without one the service starts a server process of its own.
    on_result
        Called with a `FrameResult` and its latency (ms) for every result that may be shown, on a thread of the
        client; it must be quick.
    on_state
        Called with the `LiveStatus` whenever something of it changed, on any thread.
    """

    def __init__(
        self,
        scan_hardware_source: Any,
        stem_controller: Any,
        settings: LiveSettings,
        *,
        address: str | None = None,
        on_result: Callable[[FrameResult, float], None] | None = None,
        on_state: Callable[[LiveStatus], None] | None = None,
    ) -> None:
        self.scan_hardware_source = scan_hardware_source
        self._stem_controller = stem_controller
        self._settings = settings
        self._given_address = address
        self._on_result = on_result
        self._on_state = on_state
        self._lock = threading.RLock()
        self._log = Throttle(10.0)
        self._server: LocalServer | None = None
        self._client: DefectClient | None = None
        self._tap: FrameTap | None = None
        self._starter: threading.Thread | None = None
        self._run = 0
        self._reader = self._new_reader()
        self._forget()

    def __enter__(self) -> LiveService:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def status(self) -> LiveStatus:
        """The service now."""
        with self._lock:
            return replace(
                self._status, replaced=self._replaced(), flags=self._flag_age(), **self._state_and_reason()
            )

    @property
    def settings(self) -> LiveSettings:
        """What the user declared last."""
        return self._settings

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        with self._lock:
            return self._starter is not None

    def start(self) -> None:
        """Start in the background and return at once; what goes wrong becomes the state `failed`."""
        with self._lock:
            if self._starter is not None:
                return
            self._forget()
            self._run += 1
            self._say(LiveState.CONNECTING, "starting the inference server")
            self._starter = threading.Thread(
                target=self._start_up, args=(self._run,), name="stemctx-live-start", daemon=True
            )
            self._starter.start()
        self._notify()

    def wait_started(self, timeout_s: float = 30.0) -> LiveStatus:
        """Wait until starting is over, well or badly, and say how it stands."""
        starter = self._starter
        if starter is not None:
            starter.join(timeout_s)
        return self.status

    def stop(self) -> None:
        """Stop judging; a server of its own is kept for the next start."""
        with self._lock:
            self._run += 1
            tap, client, self._tap, self._client, self._starter = self._tap, self._client, None, None, None
        # Outside the lock, because closing waits for threads that may want it.
        if tap is not None:
            tap.close()
        if client is not None:
            client.close()
        self._painted = None
        self._say(LiveState.OFF, "stopped")
        self._notify()

    def close(self) -> None:
        """Stop, and end a server of its own. May be called twice."""
        starter = self._starter
        self._on_result = self._on_state = None
        self.stop()
        if starter is not None:
            starter.join(30.0)
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def configure(self, settings: LiveSettings) -> None:
        """Use other settings from the next frame on; another channel is listened to from a new start on."""
        with self._lock:
            again = self._starter is not None and settings.channel_index != self._settings.channel_index
            self._settings = settings
            self._reader = self._new_reader()
            self._painted = None
        if again:
            self.stop()
            self.start()
        else:
            self._notify()

    def origin(self, frame: FrameIdentity) -> FrameOrigin | None:
        """Where the result of a frame belongs, if the frame is among the last ones sent."""
        with self._lock:
            return self._origins.get((frame.scan_id, frame.valid_rows))

    def _forget(self) -> None:
        self._status = LiveStatus()
        self._client_state = ClientState.OFF
        self._client_reason = ""
        self._origins: OrderedDict[tuple[str, int], FrameOrigin] = OrderedDict()
        self._painted: FrameOrigin | None = None
        self._field: tuple[object, ...] | None = None
        self._refusal = ""
        self._sent = 0

    def _new_reader(self) -> ContextReader:
        s = self._settings
        return ContextReader(self._stem_controller, s.host, s.dopants, user=s.user, controls=s.controls)

    def _start_up(self, run: int) -> None:
        """Server, client, tap, in this order; on a thread of its own, because a server takes seconds to start."""
        client: DefectClient | None = None
        tap: FrameTap | None = None
        try:
            classes.candidates(self._settings.host, self._settings.dopants)
            address = self._given_address or self._own_server().address
            client = DefectClient(
                address,
                on_result=lambda result, latency_ms: self._answered(run, result),
                on_state=lambda state, *why: self._client_says(run, state, *why),
            )
            with self._lock:
                if run == self._run:
                    # Here the client becomes visible to the tap's thread, before the first frame can come.
                    self._client, client = client, None
                    tap = self._tap = FrameTap(
                        self.scan_hardware_source, self._settings.channel_index, self._tapped
                    )
                    self._say(LiveState.LIVE, "")
        except StemctxError as error:
            self._fail(run, str(error))
        except Exception as error:
            logger.exception("The live service could not start")
            self._fail(run, f"it could not start: {error}")
        if client is not None and tap is None:
            client.close()
        self._notify()

    def _own_server(self) -> LocalServer:
        with self._lock:
            server = self._server
        if server is None:
            server = LocalServer()
            server.start()
            with self._lock:
                self._server = server
        return server

    def _tapped(self, frame: TappedFrame) -> None:
        """Send a frame, on the tap's thread."""
        with self._lock:
            client, reader = self._client, self._reader
            self._field = frame.field
            if frame.complete:
                self._status = replace(self._status, scanned=self._status.scanned + 1)
            if client is None or not (frame.complete or self._settings.partial_frames):
                send = False
            else:
                send = frame.valid_rows > 0
        if send and client is not None:
            context = reader.read(
                frame.metadata, channel_name=frame.channel_name, pixel_size_nm=frame.pixel_size_nm
            )
            identity = FrameIdentity(frame.scan_id, frame.frame_index, frame.valid_rows, frame.shape)
            self._remember(identity, frame)
            client.submit(frame.data, context, identity)
        self._notify()

    def _remember(self, identity: FrameIdentity, frame: TappedFrame) -> None:
        with self._lock:
            self._sent += 1
            self._origins[(identity.scan_id, identity.valid_rows)] = FrameOrigin(
                hardware_source_id=self.scan_hardware_source.hardware_source_id,
                data_channel_id=frame.data_channel_id,
                field=frame.field,
                number=self._sent,
                whole_frames=self._status.scanned,
                received_ns=frame.received_ns,
            )
            while len(self._origins) > _ORIGINS_KEPT:
                self._origins.popitem(last=False)

    def _answered(self, run: int, result: FrameResult) -> None:
        """Pass a result on if it may be shown, on the client's thread."""
        with self._lock:
            if run != self._run:
                return
            origin = self.origin(result.frame)
            painted = self._painted
            late = origin is None or origin.field != self._field
            late = late or (painted is not None and origin is not None and origin.number <= painted.number)
            latency_ms = (time.monotonic_ns() - origin.received_ns) / 1e6 if origin else float("nan")
            self._status = replace(
                self._status,
                answered=self._status.answered + 1,
                dropped=self._status.dropped + late,
                engine=f"{result.engine.name} ({result.engine.reason})" if result.engine.reason else result.engine.name,
                model=result.model,
                latency_ms=latency_ms if origin else self._status.latency_ms,
            )
            refusal = result.refusal
            self._refusal = f"{refusal.reason} {refusal.fix}".strip() if refusal else ""
            if not late:
                self._painted = origin
        if not late and self._on_result is not None:
            try:
                self._on_result(result, latency_ms)
            except Exception:
                if self._log.ready():
                    logger.exception("A listener could not take a result")
        self._notify()

    def _client_says(self, run: int, state: ClientState, *why: object) -> None:
        with self._lock:
            if run != self._run:
                return
            self._client_state = state
            self._client_reason = " ".join(str(part) for part in why if part)
        self._notify()

    def _state_and_reason(self) -> dict[str, Any]:
        said = self._status
        if said.state is not LiveState.LIVE or self._client is None:
            return {}
        state = _STATES.get(self._client_state, LiveState.CONNECTING)
        if state is LiveState.OFF:
            state = LiveState.CONNECTING
        if state is not LiveState.LIVE:
            return {"state": state, "reason": self._client_reason or "waiting for the inference server"}
        if self._refusal:
            return {"state": LiveState.REFUSING, "reason": self._refusal}
        if self._flag_age() is FlagAge.STALE:
            return {"state": LiveState.STALE, "reason": "results come later than frames"}
        return {"reason": "" if said.answered else "waiting for the first whole frame"}

    def _flag_age(self) -> FlagAge:
        painted = self._painted
        if painted is None or painted.field != self._field:
            return FlagAge.GONE
        behind = self._status.scanned - painted.whole_frames
        return FlagAge.STALE if behind > 1 or self._client_state is not ClientState.LIVE else FlagAge.FRESH

    def _replaced(self) -> int:
        tapped = self._tap.replaced if self._tap else 0
        return tapped + (self._client.counters.replaced if self._client else 0)

    def _say(self, state: LiveState, reason: str) -> None:
        self._status = replace(self._status, state=state, reason=reason)

    def _fail(self, run: int, reason: str) -> None:
        with self._lock:
            if run == self._run:
                self._say(LiveState.FAILED, reason)

    def _notify(self) -> None:
        listener = self._on_state
        if listener is None:
            return
        try:
            listener(self.status)
        except Exception:
            if self._log.ready():
                logger.exception("A listener could not take the state")
