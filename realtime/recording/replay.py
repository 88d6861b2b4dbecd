"""Recorded frames through the live path again: a real server process and client, and what came out before beside it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from realtime.client import DefectClient
from realtime.client.states import ClientState
from realtime.client.supervisor import LocalServer
from realtime.recording.comparison import compare
from realtime.recording.recorder import FrameRecorder, require_new
from realtime.recording.recordings import RecordedFrame, RecordingReader
from realtime.recording.replay_report import ReplayedFrame, ReplayReport
from stemctx_core.errors import InputError, ServerUnavailable, TransportError
from stemctx_core.results import FrameIdentity, FrameResult

#: How long a server may take to be there, and to answer one frame.
PATIENCE_S: Final = 60.0


class ReplayPlan(msgspec.Struct, frozen=True):
    """What is replayed, and how.

    Attributes
    ----------
    speed
        1 is as recorded, 2 twice as fast; None as fast as possible, each frame after the answer to the one before.
    address
        Of a server; a process of its own is started where left out.
    bundle, engine, threads
        Of that process.
    output
        Where to record again, or None.
    tolerance
        Posteriors may differ by so much.
    """

    recording: Path
    speed: float | None = None
    address: str | None = None
    bundle: Path | None = None
    engine: str | None = None
    threads: int | None = None
    output: Path | None = None
    tolerance: float = 1e-3


def replay(plan: ReplayPlan, tell: Callable[[int, int], None] = lambda _done, _of: None) -> ReplayReport:
    """Run a recording through the live path again.

    Parameters
    ----------
    tell
        Called with the frames that are through, and how many there are.

    Raises
    ------
    InputError
        A recording that is not there, damaged or without frames, or a speed that cannot be.
    ServerUnavailable
        No server.
    """
    if plan.speed is not None and not plan.speed > 0:
        raise InputError(f"A speed of {plan.speed:g} cannot be. Give a positive number, or leave it out.")
    if plan.output is not None:
        require_new(plan.output)
    with ExitStack() as open_now:
        recording = open_now.enter_context(RecordingReader(plan.recording))
        if not len(recording):
            raise InputError(f"{plan.recording} holds no frame. Record some first.")
        address = plan.address
        if address is None:
            server = open_now.enter_context(LocalServer(plan.bundle, plan.engine, plan.threads))
            address = server.address
        recorder = open_now.enter_context(FrameRecorder(plan.output, address)) if plan.output else None
        run = _Run(lambda done: tell(done, len(recording)))
        client = open_now.enter_context(
            DefectClient(
                address, on_result=run.answered, on_error=run.failed, timeout_s=PATIENCE_S, recorder=recorder
            )
        )
        run.model_now = _model(client)
        if plan.speed is None:
            for recorded in recording:
                run.ask(client, recorded)
        else:
            run.play(client, recording, plan.speed)
        replaced = client.counters.replaced
        client.close()
        if recorder is not None:
            recorder.close()
        return ReplayReport(
            recorded=len(recording),
            frames=tuple(run.frames),
            replaced=replaced,
            models_before=tuple(run.models_before),
            model_now=run.model_now,
            tolerance=plan.tolerance,
            output=recorder.status if recorder else None,
        )


class _Run:
    """Holds a recorded frame until its new answer is there, and keeps the comparison."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._sent: deque[RecordedFrame] = deque()
        self.frames: list[ReplayedFrame] = []
        self.models_before: dict[str, None] = {}
        self.model_now = ""

    def ask(self, client: DefectClient, recorded: RecordedFrame) -> None:
        """Send one frame and wait for its answer."""
        header = recorded.header
        try:
            result = client.analyze(recorded.image, header.context, header.frame, timeout_s=PATIENCE_S)
        except TransportError as error:
            self._note(recorded, None, str(error))
        else:
            self._note(recorded, result, "")

    def play(self, client: DefectClient, recording: RecordingReader, speed: float) -> None:
        """Send every frame when its time comes; one that a newer one replaces is not compared."""
        start, first_ms = time.monotonic(), None
        for recorded in recording:
            header = recorded.header
            first_ms = header.since_start_ms if first_ms is None else first_ms
            due = start + (header.since_start_ms - first_ms) / 1000 / speed
            time.sleep(max(0.0, due - time.monotonic()))
            with self._changed:
                self._sent.append(recorded)
            client.submit(recorded.image, header.context, header.frame)
        with self._changed:
            whole = self._changed.wait_for(
                lambda: len(self.frames) + client.counters.replaced == len(recording), 2 * PATIENCE_S
            )
        if not whole:
            raise ServerUnavailable(f"{client.address} did not answer the last frame. Is it busy with others?")

    def answered(self, result: FrameResult, _latency_ms: float) -> None:
        """Take a result, on the client's thread."""
        if (recorded := self._taken(result.frame)) is not None:
            self._note(recorded, result, "")

    def failed(self, frame: FrameIdentity, why: str) -> None:
        """Take word that there is none, on the client's thread."""
        if (recorded := self._taken(frame)) is not None:
            self._note(recorded, None, why)

    def _taken(self, frame: FrameIdentity) -> RecordedFrame | None:
        """The frame that was sent; those before it were replaced, because answers come in order."""
        with self._changed:
            while self._sent:
                recorded = self._sent.popleft()
                if _same(recorded.header.frame, frame):
                    return recorded
        return None

    def _note(self, recorded: RecordedFrame, result: FrameResult | None, error: str) -> None:
        header = recorded.header
        comparison = None
        if result is not None and recorded.result is not None:
            comparison = compare(recorded.result, result, header.model_sha256 == self.model_now)
        with self._changed:
            if header.model_sha256:
                self.models_before[header.model_sha256] = None
            self.frames.append(ReplayedFrame(header.number, header.frame, comparison, error, header.error))
            self._changed.notify()
        self._tell(len(self.frames))


def _same(sent: FrameIdentity, told: FrameIdentity) -> bool:
    """Whether an answer is about a frame; a server fills in rows and shape where they were not given."""
    return (sent.scan_id, sent.frame_index) == (told.scan_id, told.frame_index) and sent.valid_rows in (
        0,
        told.valid_rows,
    )


def _model(client: DefectClient) -> str:
    """Wait until the server is there; hash of its model."""
    end = time.monotonic() + PATIENCE_S
    while client.state is not ClientState.LIVE or client.server is None:
        if client.state in (ClientState.REFUSED, ClientState.FAILED) or time.monotonic() > end:
            raise ServerUnavailable(f"{client.address} cannot be used ({client.state}): {client.reason}")
        time.sleep(0.01)
    return client.server.model_sha256
