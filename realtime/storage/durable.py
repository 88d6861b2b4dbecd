"""A file whose changes land all at once or not at all, for h5py to write through.

HDF5 changes its file in many small writes; a process that dies between two of them leaves a file that nothing can
read. Here the writes are held in memory until `DurableFile.commit`. New bytes are put behind the old ones, where the
old file does not look; changes of old bytes go into a journal beside the file first and only then into the file. A
journal that is whole is applied again when the file is next opened, one that is not is ignored, so that the file is
always as it was after a commit; where the process died before the journal was whole, bytes that nothing refers to may
be left behind the end. Meant for a process killed at any moment and for a machine that loses power.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path
from typing import Final

from realtime.storage.file_lock import hold
from realtime.storage.journal import ID_BYTES, Journal, Writes, cut, image_of, packed, read_journal, split
from stemctx_core.errors import InputError

#: HDF5 leaves these bytes at the head of the file to its user.
USER_BLOCK_BYTES: Final = 512
_MARK: Final = b"stemctx record\n"
_TEXT: Final = b"\nAn HDF5 file: the data begin at byte 512.\n"


class DurableFile:
    """A binary file with `commit`, in the shape of Python's own, as h5py's ``fileobj`` driver wants it.

    Attributes
    ----------
    path, journal_path
        The file, and what lies beside it until `close`.
    writable
        Whether it may be changed; one process at a time.

    Raises
    ------
    InputError
        On opening: a file that is not ours, or one that another process writes.
    OSError
        On opening and in `commit`: the disk says no. What was committed before stays as it is.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path, self.writable = path, writable
        self.journal_path = journal_of(path)
        self._pending: Writes = []
        self._position = 0
        self._half_applied = False
        # Unbuffered: bytes are with the system when they are written. Not "w": what is there must not be cut.
        self._file = io.FileIO(path, ("r+" if path.exists() else "x+") if writable else "r")
        try:
            hold(self._file, path, exclusive=writable)
            self._size = self._committed = self._file.seek(0, io.SEEK_END)
            self._recover()
            self._id = self._identity()
        except BaseException:
            self._file.close()
            raise

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever committed to it."""
        return self._id is None

    def commit(self) -> None:
        """Make what was written since the last commit part of the file, all of it or nothing."""
        first = self._id is None
        if first:
            self._id = secrets.token_bytes(ID_BYTES)
            self._pending.append((0, _user_block(self._id)))
            self._size = max(self._size, USER_BLOCK_BYTES)
        assert self._id is not None
        # The first commit goes through the journal whole: there is no old file yet that a half-written one could be.
        old_end = 1 << 62 if first else self._committed
        behind, changed = split(cut(self._pending, self._size), old_end)
        if first:
            changed = [(0, image_of(changed, self._size))]
        try:
            self._put(behind)
            # Before the journal is written over, what the last one said must be on the disk.
            os.fsync(self._file.fileno())
            self._write_journal(packed(Journal(self._id, self._size, first, changed)))
        except OSError:
            # A journal without the bytes behind the old end must not be applied.
            with contextlib.suppress(OSError):
                self.journal_path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._file.truncate(self._committed)
            self._id = None if first else self._id
            raise
        self._half_applied = True
        self._apply(changed, self._size)
        self._half_applied = False
        self._pending, self._committed = [], self._size

    def file_status(self) -> os.stat_result:
        """Status of the file that is open, wherever its path leads by now."""
        return os.fstat(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; what was not committed is dropped. Safe to call twice."""
        if self._file.closed:
            return
        self._pending = []
        try:
            if self.writable:
                os.fsync(self._file.fileno())
                if not self._half_applied:
                    self.journal_path.unlink(missing_ok=True)
        finally:
            self._file.close()

    # What h5py calls.

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as in any file."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Where it is."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to the end at most."""
        left = max(0, self._size - self._position)
        buffer = bytearray(left if size < 0 else min(size, left))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer with what was committed and what was written since; zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        start, length = self._position, len(view)
        self._file.seek(start)
        got = 0
        while got < length and (count := self._file.readinto(view[got:])):
            got += count
        view[got:] = bytes(length - got)
        for offset, data in self._pending:
            low, high = max(start, offset), min(start + length, offset + len(data))
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position += length
        return length

    def write(self, data: bytes | memoryview) -> int:
        """Keep bytes until the next commit."""
        if not self.writable:
            raise io.UnsupportedOperation(f"{self.path} is open to be read")
        if data:
            self._pending.append((self._position, bytes(data)))
            self._position += len(data)
            self._size = max(self._size, self._position)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """End the file here, from the next commit on."""
        size = self._position if size is None else size
        if size < self._size:
            # Where the file grows again there must be zeros, not what was cut off.
            self._pending.append((size, bytes(self._size - size)))
        self._size = size
        return size

    def flush(self) -> None:
        """Do nothing: only `commit` is meant to reach the disk."""

    # The journal.

    def _recover(self) -> None:
        if not self.journal_path.exists():
            return
        journal = read_journal(self.journal_path)
        if journal is None or not self._belongs(*journal):
            return
        _, size, _, changed = journal
        if self.writable:
            self._apply(changed, size)
            self._committed = size
        else:
            self._pending = changed
        self._size = size

    def _belongs(self, owner: bytes, size: int, first: bool, changed: Writes) -> bool:
        """Whether a journal is of this very file and not of one that lay here before."""
        if not first:
            return owner == self._identity()
        image = changed[0][1]
        there = min(self._size, len(image))
        self.seek(0)
        return len(changed) == 1 and len(image) == size and self.read(there) == image[:there]

    def _identity(self) -> bytes | None:
        self.seek(0)
        head = self.read(USER_BLOCK_BYTES)
        if not head:
            return None
        start, end = len(_MARK), len(_MARK) + 2 * ID_BYTES
        try:
            if head[:start] == _MARK and len(head) == USER_BLOCK_BYTES:
                return bytes.fromhex(head[start:end].decode("ascii"))
        except ValueError:
            pass
        raise InputError(f"{self.path} is not a stemctx record, or is damaged. Choose another file.")

    def _put(self, writes: Writes) -> None:
        for offset, data in writes:
            self._file.seek(offset)
            self._write_out(self._file, data)

    def _apply(self, changed: Writes, size: int) -> None:
        self._put(changed)
        self._file.truncate(size)

    def _write_journal(self, journal: bytes) -> None:
        with self.journal_path.open("wb", buffering=0) as file:
            self._write_out(file, journal)
            os.fsync(file.fileno())

    @staticmethod
    def _write_out(file: io.FileIO, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


def journal_of(path: Path) -> Path:
    """Where the journal of a file lies."""
    return path.with_name(path.name + ".journal")


def _user_block(identity: bytes) -> bytes:
    return (_MARK + identity.hex().encode() + _TEXT).ljust(USER_BLOCK_BYTES, b"\0")
