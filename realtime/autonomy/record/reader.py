"""Reading a record: what was intended, what came of it, what was decided and why, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from realtime.autonomy.microscope import ScannedFrame
from realtime.autonomy.record.events import (
    EVENTS,
    MAX_TEXT_BYTES,
    AnyEvent,
    DecisionTaken,
    ExposureDone,
    ExposureIntended,
    Noted,
    SessionStarted,
)
from realtime.autonomy.record.exposures import EXPOSURES, read_frame
from realtime.storage.record_file import RecordFile, damage_told, get_group, get_text, names
from realtime.storage.results import entry_name, read_result
from realtime.storage.text import from_text
from stemctx_core.closing import Closing
from stemctx_core.errors import InputError
from stemctx_core.results import FrameResult

E_ = TypeVar("E_", bound=AnyEvent)


@dataclass(frozen=True)
class RecordedExposure:
    """An exposure: what was intended, and what came of it.

    Attributes
    ----------
    done
        None where the process ended, or the exposure failed, before its frame was in the file; it counts as spent.
    """

    intended: ExposureIntended
    done: ExposureDone | None

    @property
    def number(self) -> int:
        """Counts exposures from 1."""
        return self.intended.number

    @property
    def electrons(self) -> float:
        """What it cost."""
        return self.intended.request.electrons(self.intended.dose_e_per_angstrom2)


class RecordReader(Closing):
    """A record that is open to be read. A context manager.

    Attributes
    ----------
    events
        Everything in order.
    text_bytes
        Length of all events together.
    """

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self.path: Path = file.path
        with damage_told(self.path):
            self.events, self.text_bytes = _events(get_group(file.root, EVENTS))
            intended = self._of(ExposureIntended)
            if [e.number for e in intended] != list(range(1, len(intended) + 1)):
                raise ValueError("its exposures are not in order")
            if len({e.key for e in intended}) != len(intended):
                raise ValueError("an exposure is in it twice")
            self._done = {e.number: e for e in self._of(ExposureDone)}
            if not self._done.keys() <= {e.number for e in intended}:
                raise ValueError("an exposure is done that was never intended")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def sessions(self) -> tuple[SessionStarted, ...]:
        """The session that began the record and those that resumed it."""
        return self._of(SessionStarted)

    @property
    def exposures(self) -> tuple[RecordedExposure, ...]:
        """Every exposure that was begun, in order."""
        return tuple(RecordedExposure(e, self._done.get(e.number)) for e in self._of(ExposureIntended))

    @property
    def decisions(self) -> tuple[DecisionTaken, ...]:
        """What was decided, in order."""
        return self._of(DecisionTaken)

    @property
    def notes(self) -> tuple[Noted, ...]:
        """Remarks, in order."""
        return self._of(Noted)

    def frame(self, number: int) -> ScannedFrame:
        """Frame of an exposure that is done.

        Raises
        ------
        InputError
            Where it is not, or is damaged.
        """
        with damage_told(self.path):
            return read_frame(self._exposure(number))

    def result(self, number: int) -> FrameResult:
        """Result of an exposure that is done; raises as `frame`."""
        with damage_told(self.path):
            return read_result(self._exposure(number))

    def results(self) -> Iterator[tuple[RecordedExposure, FrameResult]]:
        """Every exposure that is done with its result, in order."""
        for exposure in self.exposures:
            if exposure.done is not None:
                yield exposure, self.result(exposure.number)

    def _exposure(self, number: int) -> Any:
        if number not in self._done:
            raise InputError(f"{self.path} holds no frame of exposure {number}: it was never finished.")
        return get_group(get_group(self._file.root, EXPOSURES), entry_name(number))

    def _of(self, kind: type[E_]) -> tuple[E_, ...]:
        return tuple(e for e in self.events if isinstance(e, kind))


def read_record(path: Path) -> RecordReader:
    """Open a record to be read, to the last event, whatever became of the session that wrote it.

    Raises
    ------
    InputError
        Not there, not ours, damaged, hostile, or being written.
    """
    file = RecordFile(Path(path), writable=False)
    try:
        return RecordReader(file)
    except BaseException:
        file.close()
        raise


def _events(group: Any) -> tuple[tuple[AnyEvent, ...], int]:
    events, total = [], 0
    for name in names(group):
        text = get_text(group, name)
        total += len(text)
        if total > MAX_TEXT_BYTES:
            raise ValueError(f"its events are over {MAX_TEXT_BYTES} bytes")
        events.append(from_text(text, AnyEvent))
    return tuple(events), total
