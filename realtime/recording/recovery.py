"""What can be saved of a recording that is damaged: every frame that is whole, into a new file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from realtime.recording.recorder import require_new
from realtime.recording.recordings import FORMAT, RecordingReader, begin, write_frame
from realtime.storage.durable import journal_of
from realtime.storage.record_file import RecordFile, remove_journal
from stemctx_core.errors import InputError

_COMMIT_EVERY: Final = 16


class Recovered(msgspec.Struct, frozen=True):
    """What was saved.

    Attributes
    ----------
    frames
        Numbers of the frames that are in the new file.
    lost
        Name of each frame that is not whole, and what is wrong with it.
    """

    frames: tuple[int, ...]
    lost: dict[str, str]


def recover(damaged: Path, output: Path) -> Recovered:
    """Copy every frame that is whole; the damaged file, and the journal beside it, stay as they are.

    A recording whose writer was killed needs none of this: it opens to its last commit by itself. This is for a file
    of which some frames can no longer be read. Where its index is gone, as of one whose end was cut off, there is
    nothing to find frames by.

    Raises
    ------
    InputError
        Not there, being written, or its index is damaged; or the new file is there already.
    """
    require_new(output)
    if not damaged.is_file():
        raise InputError(f"There is no file {damaged}.")
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".stemctx-recover-") as folder:
        copy = Path(folder, damaged.name)
        shutil.copyfile(damaged, copy)
        if journal_of(damaged).exists():
            shutil.copyfile(journal_of(damaged), journal_of(copy))
        with RecordingReader(copy) as reading:
            return _copied(reading, output)


def _copied(reading: RecordingReader, output: Path) -> Recovered:
    remove_journal(output)
    file = RecordFile(output, writable=True, kind=FORMAT)
    saved: list[int] = []
    lost: dict[str, str] = {}
    try:
        begin(file, reading.session)
        for name in reading.entries:
            try:
                recorded = reading.frame(name)
            except InputError as error:
                lost[name] = str(error)
                continue
            write_frame(file, recorded)
            saved.append(recorded.header.number)
            if len(saved) % _COMMIT_EVERY == 0:
                file.commit()
        file.commit()
    except OSError as error:
        raise InputError(
            f"{output} cannot be written: {error}. Free the disk or choose another file."
        ) from error
    finally:
        file.close()
    return Recovered(tuple(saved), lost)
