"""Results of finished stages on disk, so that a run that was ended goes on where it stood."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Cache:
    """Arrays by name in a folder.

    Parameters
    ----------
    folder
        Made where it is not there.
    identity
        What the results depend on: model, library, seed, sizes. Another identity is another set of files.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = folder
        text = json.dumps(identity, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a result lies."""
        return self.folder / f"{name}-{self.key}.npz"

    def arrays(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The stored arrays of a stage, computed and stored where they are not there yet."""
        stored = self.load(name)
        return self.store(name, compute()) if stored is None else stored

    def load(self, name: str) -> Arrays | None:
        """Stored arrays, or None; a damaged file counts as none."""
        try:
            # Opened here, as numpy leaves the file of a damaged archive open.
            with self.path(name).open("rb") as file, np.load(file, allow_pickle=False) as held:
                return {k: held[k] for k in held.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def store(self, name: str, arrays: Arrays) -> Arrays:
        """Write arrays; the file appears whole or not at all."""
        path = self.path(name)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
        return arrays
