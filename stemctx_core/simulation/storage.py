"""The two files of a response library: arrays in an ``.npz``, and what they are in a ``.json``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import LibraryError

#: Raised when the arrays change their meaning.
FORMAT: Final = 2
#: Steps of a stored difference: an error below 0.02 % of the largest difference in its ring.
_STEPS: Final = 2047


def pack(values: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Differences as whole steps, with the step of each ring; the radii are the last axis but one."""
    largest = np.abs(values).max(axis=-2, keepdims=True)
    step = (np.where(largest > 0, largest, 1.0) / _STEPS).astype(np.float32)
    return np.rint(values / step).astype(np.int16), step


def unpack(steps: NDArray[np.int16], step: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `pack`."""
    return steps * step


def write_library(path: Path, arrays: dict[str, NDArray[np.generic]], provenance: dict[str, object]) -> None:
    """Write the arrays and, beside them, the provenance with the sha256 of the array file.

    Both are written under another name first, so that neither is ever there in half.

    Raises
    ------
    LibraryError
        Where the disk is full or the folder cannot be written to.
    """
    beside = path.with_suffix(".json")
    array_part, text_part = path.with_name(path.name + ".part"), beside.with_name(beside.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with array_part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        provenance["format"] = FORMAT
        provenance["sha256"] = hashlib.sha256(array_part.read_bytes()).hexdigest()
        text_part.write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
        os.replace(array_part, path)
        os.replace(text_part, beside)
    except OSError as error:
        array_part.unlink(missing_ok=True)
        text_part.unlink(missing_ok=True)
        raise LibraryError(
            f"The library {path} cannot be written: {error.strerror or error}. Make room or choose another place; "
            "the finished columns are kept."
        ) from error


class LibraryFile:
    """A library's arrays, decoded when they are first asked for.

    Raises
    ------
    LibraryError
        Where a file is missing, damaged, of another format, or does not match the other.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            raw = path.read_bytes()
            provenance = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"The response library {path.name} cannot be read: {error}. Rebuild it with 'stemctx simulate library'."
            ) from error
        self.sha256 = hashlib.sha256(raw).hexdigest()
        if not isinstance(provenance, dict) or self.sha256 != provenance.get("sha256"):
            raise LibraryError(
                f"The response library {path.name} is not the one its provenance describes (sha256 differs). "
                "Reinstall stemctx or rebuild it with 'stemctx simulate library'."
            )
        if provenance.get("format") != FORMAT:
            raise LibraryError(
                f"The response library {path.name} is of format {provenance.get('format', 1)}; this stemctx reads "
                f"format {FORMAT}. Write it anew with 'stemctx simulate library': finished columns are not run again."
            )
        self.provenance: dict[str, Any] = provenance
        try:
            self._stored = np.load(io.BytesIO(raw), allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise self.unreadable(error) from error

    def __contains__(self, name: str) -> bool:
        return name in self._stored.files

    def array(self, name: str) -> NDArray[Any]:
        """Decode an array."""
        try:
            stored: NDArray[Any] = self._stored[name]
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise self.unreadable(error) from error
        return stored

    def unreadable(self, error: Exception) -> LibraryError:
        """Error of a file that is not what it should be."""
        return LibraryError(
            f"{self._name} is not a response library: {error}. Build one with 'stemctx simulate library'."
        )
