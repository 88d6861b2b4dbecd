"""What a recording holds: frames as they were sent, in what context, and what was said of them.

The layout is described path by path in `docs/recording.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from realtime.storage.packed import Packed, put_packed, recordable, say_axes
from realtime.storage.record_file import (
    RecordFile,
    damage_told,
    get_array,
    get_group,
    get_text,
    names,
    put_text,
)
from realtime.storage.results import entry_name, packed_result, read_result
from realtime.storage.text import from_text, to_text
from realtime.wire.codec import AnyArray
from stemctx_core.closing import Closing
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity, FrameResult

FORMAT: Final = "stemctx-recording"
FRAMES: Final = "frames"
SESSION: Final = "session"


class SessionHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who recorded.

    Attributes
    ----------
    utc
        When it began, ISO 8601.
    software
        Name to version.
    address
        Of the server.
    """

    utc: str
    software: dict[str, str]
    address: str = ""


class FrameHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recording says of a frame beside its pixels.

    Attributes
    ----------
    number
        Counts recorded frames from 1.
    utc
        When its answer came, ISO 8601; for people, never for a difference.
    since_start_ms
        Arrival of its last row after the start of the recording, by the monotonic clock.
    latency_ms
        From the last row to the result, by the monotonic clock.
    lost_before
        Frames that were not recorded so far, because the disk was too slow.
    model_sha256
        Of the server's model.
    error
        Why it got no result, or empty.
    """

    number: int
    utc: str
    since_start_ms: float
    latency_ms: float
    frame: FrameIdentity
    context: ImagingContext
    lost_before: int = 0
    model_sha256: str = ""
    error: str = ""


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of a recording.

    Attributes
    ----------
    image
        (rows, columns) as it was sent: the rows that were valid.
    result
        None where it got none; the header's `error` says why.
    """

    header: FrameHeader
    image: AnyArray
    result: FrameResult | None


def begin(file: RecordFile, session: SessionHeader) -> None:
    """Lay out a new recording."""
    put_text(file.root, SESSION, to_text(session))
    file.root.create_group(FRAMES)
    file.commit()


def write_frame(file: RecordFile, recorded: RecordedFrame) -> None:
    """Put a frame in; it is part of the file from the next commit on.

    Raises
    ------
    InputError
        Pixels that are not rows of real numbers.
    """
    packed: Packed = {"header": to_text(recorded.header), "image": recordable(recorded.image)}
    if recorded.result is not None:
        packed |= packed_result(recorded.result)
    group = file.root[FRAMES].create_group(entry_name(recorded.header.number))
    put_packed(group, packed, compressed=False)  # compressing would take longer than the analysis
    say_axes(group["image"])


class RecordingReader(Closing):
    """A recording that is open to be read. A context manager.

    Parameters
    ----------
    path
        May be one whose writer was killed: it is read to the last whole frame.

    Raises
    ------
    InputError
        Not there, not ours, damaged, or being written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file = RecordFile(self.path, writable=False, kind=FORMAT)
        try:
            with damage_told(self.path):
                self.session: SessionHeader = from_text(get_text(self._file.root, SESSION), SessionHeader)
                self._names = names(get_group(self._file.root, FRAMES))
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[RecordedFrame]:
        return (self.frame(name) for name in self._names)

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the frames, in order."""
        return tuple(self._names)

    def frame(self, name: str) -> RecordedFrame:
        """Read one frame.

        Raises
        ------
        InputError
            Where it is damaged; the others may still be whole.
        """
        with damage_told(self.path):
            return _read_frame(get_group(get_group(self._file.root, FRAMES), name))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _read_frame(group: Any) -> RecordedFrame:
    header = from_text(get_text(group, "header"), FrameHeader)
    image = get_array(group, "image", rank=2)
    return RecordedFrame(header, image, read_result(group) if "result" in group else None)
