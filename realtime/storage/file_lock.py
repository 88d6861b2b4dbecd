"""A file held by one process that writes, or by several that read."""

from __future__ import annotations

import errno
import io
import logging
import sys
from pathlib import Path

from stemctx_core.errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)


def hold(file: io.FileIO, path: Path, *, exclusive: bool) -> None:
    """Hold an open file for this process; the system lets go when the process ends, however it ends.

    Raises
    ------
    InputError
        Another process holds it.
    """
    try:
        if sys.platform == "win32":
            file.seek(1 << 40)  # far behind the data: Windows keeps others from what is locked
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}:
            raise InputError(
                f"Another session is recording to {path}. Wait until it has ended, or choose another file."
            ) from error
        logger.debug("%s cannot be locked here: %s", path, error)
