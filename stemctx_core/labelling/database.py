"""The file of a book of labels: whether a file is one, and a connection whose every commit is on the disk."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stemctx_core.labelling.schema import APPLICATION_ID, FORMAT

_BUSY_S: Final = 10.0
#: Magic, user version and application number in the header of a SQLite file: a file of another program is left as it is.
_HEAD: Final = struct.Struct(">16s44xI4xI")


def is_book(path: Path) -> bool:
    """Whether a file says in its head that it is a book of labels of this format; it is not opened as a database."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    return len(head) == _HEAD.size and _HEAD.unpack(head) == (b"SQLite format 3\0", FORMAT, APPLICATION_ID)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that is closed afterwards."""
    database = connection(path)
    try:
        yield database
    finally:
        database.close()


def connection(path: Path) -> sqlite3.Connection:
    """Connect: every commit is on the disk, and the file's own rules hold.

    Raises
    ------
    sqlite3.Error
        Where the file cannot be opened.
    """
    # Autocommit: transactions are begun where they are needed. One thread at a time, but not always the same one.
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        for setting in (
            "trusted_schema = OFF", "foreign_keys = ON", "recursive_triggers = ON", "journal_mode = WAL",
            "synchronous = FULL",
        ):  # fmt: skip
            database.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        database.close()
        raise
    return database
