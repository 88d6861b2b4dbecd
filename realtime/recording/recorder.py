"""Frames, context and results to a file while live, on a thread of its own, and never at the cost of the live path."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from realtime.client.answers import Answer, utc_now
from realtime.recording.recordings import FORMAT, FrameHeader, RecordedFrame, SessionHeader, begin, write_frame
from realtime.storage.record_file import MAX_ENTRIES, RecordFile, remove_journal, software
from stemctx_core.closing import Closing
from stemctx_core.errors import InputError

logger = logging.getLogger(__name__)

#: Pixels that may wait for the disk; a frame over it is lost, and counted.
MOST_WAITING_BYTES: Final = 256 * 1024 * 1024
#: Frames are made part of the file together while more wait, up to so long: the disk is asked to sync that often.
_COMMIT_S: Final = 0.25


class RecordingState(StrEnum):
    """How a recording is."""

    STARTING = "starting"
    RECORDING = "recording"
    FAILED = "failed"
    CLOSED = "closed"


class RecordingStatus(msgspec.Struct, frozen=True):
    """A recording at one moment.

    Attributes
    ----------
    reason
        Why it failed, or that frames were lost, with the fix; else empty.
    written, lost
        Frames that are in the file, and those that never will be.
    waiting_bytes
        Pixels that wait for the disk.
    """

    path: Path
    state: RecordingState
    reason: str
    written: int
    lost: int
    waiting_bytes: int


class FrameRecorder(Closing):
    """Writes a recording. A context manager.

    The file can be read to the last frame that was committed whatever happens: a process killed, a disk that is full,
    a place that vanishes. Then `status` is FAILED with the reason, and further frames are counted as lost.

    Parameters
    ----------
    path
        Of the HDF5 file; its folder is made where it is not there. A file that is there is not touched.
    address
        Of the server, for the record.
    most_waiting_bytes
        Pixels that may wait for the disk.
    """

    def __init__(self, path: Path, address: str = "", most_waiting_bytes: int = MOST_WAITING_BYTES) -> None:
        self.path = Path(path)
        self._address = address
        self._most_bytes = most_waiting_bytes
        self._state, self._reason = RecordingState.STARTING, ""
        self._written = self._lost = self._number = self._bytes = 0
        self._waiting: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._started_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="stemctx-recorder", daemon=True)
        self._thread.start()

    @property
    def status(self) -> RecordingStatus:
        """How it is now."""
        with self._changed:
            return RecordingStatus(self.path, self._state, self._reason, self._written, self._lost, self._bytes)

    def record(self, answer: Answer) -> None:
        """Leave a frame to be written; returns at once and never raises."""
        size = answer.image.nbytes
        with self._changed:
            open_still = self._state in (RecordingState.STARTING, RecordingState.RECORDING)
            if not open_still or self._closing:
                self._lost += 1
            elif self._waiting and self._bytes + size > self._most_bytes:
                self._lost += 1
                self._reason = f"The disk of {self.path} is too slow: {self._lost} frames were not recorded."
            else:
                self._waiting.append(answer)
                self._bytes += size
                self._changed.notify()

    def close(self) -> None:
        """Write what waits and close the file; safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        file: RecordFile | None = None
        try:
            require_new(self.path)
            remove_journal(self.path)
            file = RecordFile(self.path, writable=True, kind=FORMAT)
            begin(file, SessionHeader(utc_now(), software(), self._address))
            with self._changed:
                self._state = RecordingState.RECORDING
            self._write_all(file)
        except Exception as error:  # whatever it is, the live path goes on
            self._fail(error)
        else:
            with self._changed:
                self._state = RecordingState.CLOSED
        finally:
            if file is not None:
                _let_go(file)

    def _write_all(self, file: RecordFile) -> None:
        uncommitted, committed_s = 0, time.monotonic()
        while True:
            with self._changed:
                while not self._waiting and not self._closing and not uncommitted:
                    self._changed.wait()
                answer = self._waiting.popleft() if self._waiting else None
                if answer is None and not uncommitted:
                    return
                lost = self._lost
            if answer is not None:
                if self._number >= MAX_ENTRIES:
                    raise InputError(f"it holds {MAX_ENTRIES} frames and is full. Begin another file")
                try:
                    write_frame(file, self._laid_out(answer, lost))
                except InputError as error:  # this frame cannot be recorded, the next one can
                    logger.warning("%s", error)
                    self._number -= 1
                    with self._changed:
                        self._lost += 1
                        self._reason = str(error)
                else:
                    uncommitted += 1
                with self._changed:
                    self._bytes -= answer.image.nbytes
            if answer is None or not self._waiting or time.monotonic() - committed_s > _COMMIT_S:
                _require_same_file(file)
                file.commit()
                with self._changed:
                    self._written += uncommitted
                uncommitted, committed_s = 0, time.monotonic()

    def _laid_out(self, answer: Answer, lost: int) -> RecordedFrame:
        self._number += 1
        image, rows = answer.image, answer.frame.valid_rows
        header = FrameHeader(
            number=self._number,
            utc=answer.utc,
            since_start_ms=(answer.since_ns - self._started_ns) / 1e6,
            latency_ms=(answer.ended_ns - answer.since_ns) / 1e6,
            frame=answer.frame,
            context=answer.context,
            lost_before=lost,
            model_sha256=answer.model_sha256,
            error=answer.error,
        )
        # The rows beyond are of an older frame.
        return RecordedFrame(header, image[:rows] if rows and image.ndim else image, answer.result)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._state = RecordingState.FAILED
            self._reason = (
                f"Frames are no longer recorded: {error} ({self.path}). Free the disk or choose another file."
            )
            self._lost += self._number - self._written + len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
        logger.error(self._reason)


def require_new(path: Path) -> None:
    """Raise `InputError` where a recording would be written over something."""
    if path.exists() and (path.is_dir() or path.stat().st_size):
        raise InputError(f"{path} is there already. Choose another file to record to.")


def _require_same_file(file: RecordFile) -> None:
    """Raise OSError where the path no longer leads to the file: what is written to it would be lost unseen."""
    if not os.path.samestat(os.stat(file.path), file.file_status()):
        raise OSError(f"{file.path} was replaced by another file")


def _let_go(file: RecordFile) -> None:
    try:
        file.close()
    except Exception:
        logger.debug("closing %s failed", file.path, exc_info=True)
