"""The events of a record as they are written: one after the other, whole, and none after a write that failed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

from realtime.autonomy.record.events import EVENTS, MAX_TEXT_BYTES, AnyEvent
from realtime.storage.record_file import MAX_ENTRIES, RecordFile, put_text
from realtime.storage.results import entry_name
from realtime.storage.text import to_text
from stemctx_core.errors import InputError, StemctxError

logger = logging.getLogger(__name__)


class RecordError(StemctxError):
    """The record cannot be written any more; nothing may be exposed without it."""


class RecordState(StrEnum):
    """How the record is."""

    RECORDING = "recording"
    FAILED = "failed"
    CLOSED = "closed"


class EventLog:
    """Appends events to an open record; its owner sees to it that one thread at a time does.

    Parameters
    ----------
    file
        The record.
    events, text_bytes
        How many it holds already, and their length together.

    Attributes
    ----------
    state, reason
        How the record is; why it failed, with the fix.
    """

    def __init__(self, file: RecordFile, events: int = 0, text_bytes: int = 0) -> None:
        self._file, self._events, self._text_bytes = file, events, text_bytes
        self.state, self.reason = RecordState.RECORDING, ""

    def append(self, event: AnyEvent, fill: Callable[[], None] = lambda: None) -> None:
        """Write an event, and whatever `fill` puts into the file, all of it or nothing.

        Raises
        ------
        InputError
            An event that cannot be written; the record is as it was and goes on.
        RecordError
            Not written, nor is anything after it.
        """
        # Before the file is touched, so that evidence that cannot be written spoils nothing.
        text = to_text(event)
        self.require_recording()
        if self._text_bytes + len(text) > MAX_TEXT_BYTES or self._events >= MAX_ENTRIES:
            raise InputError(f"The record {self._file.path} is full. Begin another one.")
        try:
            fill()
            put_text(self._file.root[EVENTS], entry_name(self._events + 1), text)
            self._file.commit()
        except Exception as error:
            self._fail(error)
            raise RecordError(self.reason) from error
        self._events += 1
        self._text_bytes += len(text)

    def require_recording(self) -> None:
        """Raise `RecordError` where the record failed or is closed."""
        if self.state is RecordState.FAILED:
            raise RecordError(self.reason)
        if self.state is RecordState.CLOSED:
            raise RecordError(f"The record {self._file.path} is closed. Open it again with resume.")

    def _fail(self, error: Exception) -> None:
        self.state = RecordState.FAILED
        self.reason = (
            f"The session is no longer recorded to {self._file.path}: {error}. "
            "Nothing more may be exposed. Free the disk and resume."
        )
        logger.error(self.reason)
