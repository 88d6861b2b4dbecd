"""The record of a session: what is to be exposed before it is, what came of it, and every decision with its evidence.

One HDF5 file. Every call lands in the file whole before it returns (see `realtime.storage.durable`), so that a
process killed at any moment leaves a record that reads to its last event, and a session that goes on with it knows
every exposure that was begun. Layout: ``events/00000001`` and on, JSON in order (`realtime.autonomy.record.events`);
``exposures/00000001`` and on, with ``images``, ``frame`` and ``result``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.autonomy.record.event_log import EventLog, RecordState
from realtime.autonomy.record.events import (
    EVENTS,
    DecisionTaken,
    ExposureDone,
    ExposureIntended,
    Noted,
    SessionEnded,
    SessionStarted,
)
from realtime.autonomy.record.exposures import EXPOSURES, packed_exposure, read_frame, write_exposure
from realtime.autonomy.record.reader import RecordReader
from realtime.storage.record_file import RecordFile, damage_told, get_group, remove_journal, software
from realtime.storage.results import entry_name, read_result
from stemctx_core.closing import Closing
from stemctx_core.errors import InputError
from stemctx_core.results import FrameResult


class Recorder(Closing):
    """Writes a record, from any thread. A context manager; `Recorder.open` makes one.

    Once a write failed, `state` is FAILED with the `reason`, the file stays as it was before that write, and every
    further call raises `RecordError`.
    """

    def __init__(self, file: RecordFile, session: Mapping[str, Any]) -> None:
        self._file = file
        self.path = file.path
        self._lock = threading.RLock()
        self._log = EventLog(file)
        self._intended: list[ExposureIntended] = []
        self._done: set[int] = set()
        if file.was_new:
            file.root.create_group(EVENTS)
            file.root.create_group(EXPOSURES)
        else:
            past = RecordReader(file)
            self._log = EventLog(file, len(past.events), past.text_bytes)
            self._intended = [e.intended for e in past.exposures]
            self._done = {e.number for e in past.exposures if e.done is not None}
        self._electrons = sum(e.request.electrons(e.dose_e_per_angstrom2) for e in self._intended)
        self._log.append(SessionStarted(utc=_now(), session=dict(session), software=software()))

    @classmethod
    def open(cls, path: Path, *, session: Mapping[str, Any], resume: bool = False) -> Self:
        """Begin a record, or go on with one.

        Parameters
        ----------
        path
            Of the HDF5 file; its folder is made where it is not there.
        session
            What the session says of itself: numbers, texts, lists and dicts.
        resume
            Go on with the record that is there; without, one that is there is an error.

        Raises
        ------
        InputError
            Already there, not ours, damaged, not to be written, or being written by another session.
        RecordError
            The disk is full.
        """
        path = Path(path)
        if not resume and path.exists() and path.stat().st_size:
            raise InputError(f"{path} is there already. Resume it, or choose another file.")
        if not resume:
            remove_journal(path)
        file = RecordFile(path, writable=True)
        try:
            return cls(file, session)
        except BaseException:
            file.close()
            raise

    @property
    def state(self) -> RecordState:
        """How the record is."""
        return self._log.state

    @property
    def reason(self) -> str:
        """Why it failed, with the fix."""
        return self._log.reason

    def exposure_intended(self, key: str, request: ScanRequest, dose: float, rule: str) -> int:
        """Write, before the beam is on, that there will be an exposure.

        Parameters
        ----------
        key
            Stable name, never used before; empty for one that is not to be found again.
        dose
            e/Å².
        rule
            Why.

        Returns
        -------
        int
            Number of the exposure, from 1.

        Raises
        ------
        InputError
            The key was used: what it names was exposed already, or begun.
        RecordError
            Not written: do not expose.
        """
        with self._lock:
            number = len(self._intended) + 1
            key = key or f"#{number}"
            if key in self.intended_keys():
                raise InputError(f"The exposure '{key}' was made already, or begun. Take another key.")
            event = ExposureIntended(
                utc=_now(), number=number, key=key, rule=rule, request=request, dose_e_per_angstrom2=float(dose)
            )
            self._log.append(event)
            self._intended.append(event)
            self._electrons += request.electrons(event.dose_e_per_angstrom2)
            return number

    def exposure_done(self, number: int, frame: ScannedFrame, result: FrameResult) -> None:
        """Write what came of an exposure.

        Raises
        ------
        InputError
            No such exposure, one that is written already, or images that are not of real numbers.
        RecordError
            Not written: the exposure stays one that was begun.
        """
        with self._lock:
            if not 1 <= number <= len(self._intended) or number in self._done:
                raise InputError(f"Exposure {number} was never intended, or is recorded already.")
            refusal = "" if result.refusal is None else f"{result.refusal.code}: {result.refusal.reason}"
            event = ExposureDone(utc=_now(), number=number, flags=result.flag_counts(), refusal=refusal)
            packed = packed_exposure(frame, result)

            def fill() -> None:
                group = self._file.root[EXPOSURES].create_group(entry_name(number))
                write_exposure(group, packed, frame.request.pixel_nm)

            self._log.append(event, fill)
            self._done.add(number)

    def decision(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision with its evidence; exposures and electrons so far are added.

        Raises
        ------
        InputError
            Evidence that cannot be written.
        RecordError
            Not written.
        """
        with self._lock:
            self._log.append(
                DecisionTaken(
                    utc=_now(), rule=rule, evidence=dict(evidence), action=action,
                    exposures=len(self._intended), electrons=self._electrons,
                )
            )  # fmt: skip

    def note(self, text: str) -> None:
        """Write a remark."""
        with self._lock:
            self._log.append(Noted(utc=_now(), text=text))

    def intended_keys(self) -> set[str]:
        """Keys of exposures that were begun, finished or not: none of them may be repeated."""
        with self._lock:
            return {e.key for e in self._intended}

    def load_view(self, key: str) -> tuple[ScannedFrame, FrameResult] | None:
        """Frame and result of an exposure; None where it was never made or never finished.

        Raises
        ------
        InputError
            Where they are damaged.
        """
        with self._lock:
            found = [e.number for e in self._intended if e.key == key and e.number in self._done]
            if not found:
                return None
            self._log.require_recording()
            with damage_told(self.path):
                group = get_group(get_group(self._file.root, EXPOSURES), entry_name(found[0]))
                return read_frame(group), read_result(group)

    def spent(self) -> Sequence[tuple[ScanRequest, float]]:
        """Every exposure that was begun, with its dose (e/Å²), in order: what a budget is restored from."""
        with self._lock:
            return tuple((e.request, e.dose_e_per_angstrom2) for e in self._intended)

    def close(self) -> None:
        """Write that the session ended, and let go of the file; safe to call twice.

        Raises
        ------
        RecordError
            Where the end could not be written.
        """
        with self._lock:
            if self._log.state is RecordState.CLOSED:
                return
            try:
                if self._log.state is RecordState.RECORDING:
                    self._log.append(SessionEnded(utc=_now()))
                    self._log.state = RecordState.CLOSED
            finally:
                self._file.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
