"""What an HDF5 file may hold before another reader is let into it.

A damaged file can make the HDF5 library itself run forever or crash, which no reader can catch: the file is walked by
a process of its own first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import h5py

from stemctx_core.errors import InputError
from stemctx_core.interpreter import python

#: A dataset that says it is larger than this has to take as much room in the file: an empty one is filled up in memory.
MOST_CLAIMED_BYTES: Final = 1 << 31
_MOST_OBJECTS: Final = 100_000


#: A walk takes a second; a machine that is busy gets more.
_LONGEST_S: Final = 60.0
_REFUSED: Final = 3


def check_hdf5(path: Path) -> None:
    """See that reading a file ends, takes no more memory than it has reason to, and nothing of other files.

    Raises
    ------
    InputError
        Where it reaches into other files, holds too many objects or a dataset that claims more than is there, or
        where the HDF5 library does not come to an end with it.
    """
    command = [python(), "-X", "utf8", "-m", "stemctx_core.reading.hdf5", str(path)]
    no_window = getattr(
        subprocess, "CREATE_NO_WINDOW", 0
    )  # inside Nion Swift on Windows a console would flash up
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            timeout=_LONGEST_S,
            creationflags=no_window,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{path} cannot be read: the HDF5 library does not end with it. Is it damaged?"
        ) from None
    if ran.returncode == _REFUSED:
        raise InputError(ran.stdout.strip())
    if ran.returncode:
        raise InputError(
            f"{path} cannot be read: the HDF5 library fails at it. Is it a whole {path.suffix} file?"
        )


def walk(path: Path) -> None:
    """Visit every group, dataset and attribute; raises as `check_hdf5` does."""
    with h5py.File(path, "r") as file:
        left = [file["/"]]
        dict(file.attrs)
        seen = set()
        count = 0
        while left:
            group = left.pop()
            for name in group:
                count += 1
                if count > _MOST_OBJECTS:
                    raise InputError(f"{path} holds more than {_MOST_OBJECTS} objects. Is it damaged?")
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise InputError(
                        f"{path} points into another file ({link.filename}). Copy the data into it."
                    )
                if isinstance(link, h5py.SoftLink):
                    continue
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                dict(item.attrs)
                if isinstance(item, h5py.Dataset):
                    _check_dataset(item, path)
                elif isinstance(item, h5py.Group):
                    left.append(item)


def _check_dataset(item: Any, path: Path) -> None:
    if item.external or item.is_virtual:
        raise InputError(f"{path} keeps {item.name} in other files. Copy the data into it.")
    claimed = int(item.nbytes)
    if claimed > MOST_CLAIMED_BYTES and claimed > 4 * item.id.get_storage_size():
        raise InputError(
            f"{path} says that {item.name} holds {claimed:.2g} bytes, which are not there. Is it damaged?"
        )


if __name__ == "__main__":
    try:
        walk(Path(sys.argv[1]))
    except InputError as error:
        sys.stdout.write(str(error))
        sys.exit(_REFUSED)
