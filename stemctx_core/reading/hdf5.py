"""What an HDF5 file may hold before another reader is let into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py

from stemctx_core.errors import InputError

#: A dataset that says it is larger than this has to take as much room in the file: an empty one is filled up in memory.
MOST_CLAIMED_BYTES: Final = 1 << 31
_MOST_OBJECTS: Final = 100_000


def check_hdf5(path: Path) -> None:
    """See that reading a file takes no more memory than it has reason to, and nothing of other files.

    Raises
    ------
    InputError
        Where it reaches into other files, holds a dataset of objects' references to code, too many objects, or one
        that claims more than is there.
    """
    with h5py.File(path, "r") as file:
        left = [file["/"]]
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
