"""Results to a file while live: a line of JSON each, on a thread of its own, and never at the cost of the live path."""

from __future__ import annotations

import logging
import os
import queue
import threading
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from stemctx_core.results import FrameResult

logger = logging.getLogger(__name__)

_MOST_WAITING: Final = 256


class RecorderState(StrEnum):
    """How the recording is."""

    RECORDING = "recording"
    FAILED = "failed"
    CLOSED = "closed"


class ResultRecorder:
    """Appends results to ``results.jsonl``.

    Every line is flushed. A line that could not be written whole is cut off again, so that the file can be read to
    the last whole one; then `state` is FAILED with the `reason`, and further results are counted in `lost`.

    Parameters
    ----------
    path
        The file; made where it is not there, its folder too. A broken last line, left by a crash, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.lost = 0
        self._state, self._reason = RecorderState.RECORDING, ""
        self._queue: queue.Queue[FrameResult | None] = queue.Queue(_MOST_WAITING)
        self._file: BinaryIO | None = None
        try:
            self._file = _opened(path)
        except OSError as error:
            self._fail(error)
        self._thread = threading.Thread(target=self._write_all, name="stemctx-recorder", daemon=True)
        self._thread.start()

    @property
    def state(self) -> RecorderState:
        """How the recording is."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it failed, with the fix."""
        return self._reason

    def record(self, result: FrameResult) -> None:
        """Leave a result to be written; returns at once and never raises."""
        if self._state is not RecorderState.RECORDING:
            self.lost += 1
            return
        try:
            self._queue.put_nowait(result)
        except queue.Full:
            self.lost += 1
            self._reason = f"The disk of {self.path} is too slow: {self.lost} results were not recorded."

    def close(self) -> None:
        """Write what waits and close the file; safe to call twice."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._state is RecorderState.RECORDING:
            self._state = RecorderState.CLOSED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_all(self) -> None:
        while (result := self._queue.get()) is not None:
            if self._file is None:
                self.lost += 1
                continue
            try:
                _append(self._file, result.to_json_line().encode() + b"\n")
                self.written += 1
            except Exception as error:  # whatever it is, the live path goes on
                self.lost += 1
                self._fail(error)
        self._close_file()

    def _fail(self, error: Exception) -> None:
        self._reason = f"Results are no longer recorded to {self.path}: {error}. Free the disk and start again."
        self._state = RecorderState.FAILED
        logger.error(self._reason)
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                logger.debug("closing %s failed", self.path)


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: a line is with the system when it is written, and nothing is left to fail at the close.
    file = path.open("ab", buffering=0)
    try:
        if path.is_file():
            _cut_broken_line(path, file)
    except OSError:
        file.close()
        raise
    return file


def _cut_broken_line(path: Path, file: BinaryIO) -> None:
    size = path.stat().st_size
    with path.open("rb") as reader:
        end = size
        while end:
            start = max(0, end - 65536)
            reader.seek(start)
            newline = reader.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
    if end < size:
        file.truncate(end)


def _append(file: BinaryIO, line: bytes) -> None:
    whole = os.fstat(file.fileno()).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        try:
            os.ftruncate(file.fileno(), whole)
        except OSError:
            logger.debug("the broken line could not be cut off")
        raise
