"""Finished parts of a long simulation, a file each: whole or not at all, so that a run that was killed goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import LibraryError


def save_part(path: Path, values: NDArray[np.float32]) -> None:
    """Write a part under another name, then give it its own.

    Raises
    ------
    LibraryError
        Where the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp.npy")
    try:
        np.save(temporary, values)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LibraryError(
            f"{path} cannot be written: {error.strerror or error}. Make room and run the same command again: "
            "it goes on where it was."
        ) from error


def load_part(path: Path) -> NDArray[np.float32]:
    """Read a part.

    Raises
    ------
    LibraryError
        Where it is damaged.
    """
    try:
        values: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LibraryError(
            f"The finished part {path} cannot be read: {error}. Delete it and run again."
        ) from error
    return values
