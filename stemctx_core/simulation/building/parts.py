"""The work folder of a build: finished columns, one file each, and the grid that all of them share."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from stemctx_core.errors import LibraryError
from stemctx_core.simulation.multislice import MultisliceSettings
from stemctx_core.simulation.nodes import Node


class Parts:
    """Finished columns in a folder.

    Parameters
    ----------
    folder
        Made where it is missing.

    Raises
    ------
    LibraryError
        Where the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"The work folder {folder} cannot be made: {error.strerror}. Choose another --work-folder."
            ) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LibraryError(f"The work folder {folder} cannot be written to. Choose another --work-folder.")

    def claim(self, settings: MultisliceSettings) -> None:
        """Make sure that what is there at this energy was simulated on the same grid, and write down the grid.

        Raises
        ------
        LibraryError
            Where the folder belongs to another grid.
        """
        grid = {k: v for k, v in asdict(settings).items() if k not in _OF_A_NODE}
        path = self.folder / f"grid_{settings.high_tension_kv:g}kv.json"
        if not path.exists():
            self._write(path, (json.dumps(grid) + "\n").encode())
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{path} cannot be read: {error}. Delete it if the folder is of this plan."
            ) from None
        if found != grid:
            differs = [k for k in grid if not isinstance(found, dict) or found.get(k) != grid[k]]
            raise LibraryError(
                f"The work folder {self.folder} was made on another grid ({', '.join(differs)} differ, see {path.name}). "
                "Choose another --work-folder."
            )

    def full(self, column: str, settings: MultisliceSettings, refine: float = 1.0) -> Path:
        """File of a column in focus with all displacements."""
        convergence = settings.convergence_semi_angle_mrad
        return self.folder / f"{column}_{settings.high_tension_kv:g}kv_{convergence:g}mrad_x{refine:g}.npy"

    def node(self, column: str, settings: MultisliceSettings, node: Node) -> Path:
        """File of a column at a node."""
        return self.folder / f"{column}_{settings.high_tension_kv:g}kv_{node.name}_node.npy"

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError as error:
            raise LibraryError(
                f"{path} cannot be written: {error.strerror or error}. Make room there."
            ) from error


_OF_A_NODE = frozenset({"convergence_semi_angle_mrad", "focus_angstrom", "astigmatism_angstrom"})
