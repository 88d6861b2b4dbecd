"""The HDF5 file under a record: what is put into it lands whole, and what is read from it is bounded first."""

from __future__ import annotations

import atexit
import math
import os
import platform
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import h5py
import msgspec
import numpy as np

from realtime.storage.durable import USER_BLOCK_BYTES, DurableFile, journal_of
from realtime.storage.text import MAX_EVENT_BYTES
from realtime.wire.codec import AnyArray
from stemctx_core.errors import InputError, StemctxError

#: What the file says that it is; another kind of record over the same file says something else.
FORMAT: Final = "stemctx-record"
VERSION: Final = 1
#: One array; an image of 8192 × 8192 float32.
MAX_ARRAY_BYTES: Final = 1 << 28
MAX_ENTRIES: Final = 1_000_000
#: HDF5 1.8: read everywhere, grows well to many groups, and has no mark that a killed writer would leave set.
_LIBVER: Final = ("v108", "v108")
_PLAIN_FILTERS: Final = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
#: h5py must let go of files that call back into Python before Python is taken down.
_open_files: weakref.WeakSet[RecordFile] = weakref.WeakSet()


class RecordFile:
    """An open record.

    Parameters
    ----------
    writable
        Open to be written, made where it is not there; else to be read.
    kind
        What the file says that it holds.

    Attributes
    ----------
    root
        The HDF5 root group.
    was_new
        Whether there was nothing in it.

    Raises
    ------
    InputError
        Not there, not ours, damaged, of a later version, or being written by another process.
    """

    def __init__(self, path: Path, *, writable: bool, kind: str = FORMAT) -> None:
        self.path = path
        self._kind = kind
        try:
            if writable:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._durable = DurableFile(path, writable=writable)
        except OSError as error:
            raise InputError(
                f"{path} cannot be {'written' if writable else 'read'}: {error.strerror or error}. Choose another file."
            ) from error
        self.was_new = self._durable.is_new
        try:
            if self.was_new and not writable:
                raise InputError(f"{path} is empty: nothing was recorded yet.")
            with damage_told(path):
                mode = "w" if self.was_new else "r+" if writable else "r"
                self.root: Any = h5py.File(
                    self._durable,
                    mode,
                    libver=_LIBVER,
                    **({"userblock_size": USER_BLOCK_BYTES} if mode == "w" else {}),
                )
        except BaseException:
            self._durable.close()
            raise
        _open_files.add(self)
        try:
            if self.was_new:
                self.root.attrs["format"] = np.bytes_(kind)
                self.root.attrs["version"] = VERSION
            else:
                self._check_format()
        except BaseException:
            self.close()
            raise

    def commit(self) -> None:
        """Make what was put in part of the file, all or nothing; raise OSError where the disk says no."""
        self.root.flush()
        self._durable.commit()

    def file_status(self) -> os.stat_result:
        """Status of the file that is open, wherever its path leads by now."""
        return self._durable.file_status()

    def close(self) -> None:
        """Let go of the file; what was not committed is dropped. Safe to call twice."""
        _open_files.discard(self)
        self.root.close()
        self._durable.close()

    def _check_format(self) -> None:
        with damage_told(self.path):
            version = int(_small_attribute(self.root, "version"))
            if bytes(_small_attribute(self.root, "format")) != self._kind.encode():
                raise ValueError("of another program")
        if version > VERSION:
            raise InputError(
                f"{self.path} is a record of version {version}, this stemctx reads {VERSION}. Upgrade stemctx."
            )


def remove_journal(path: Path) -> None:
    """Remove what a record that is no more left beside it."""
    journal = journal_of(path)
    try:
        if journal.exists():
            journal.unlink()
    except OSError as error:
        raise InputError(f"{journal} is in the way: {error}. Remove it, or choose another file.") from error


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file makes the readers raise into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError, StemctxError,
            msgspec.MsgspecError) as error:  # fmt: skip
        text = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path} is not a stemctx record, or is damaged: {text}. Choose another file."
        ) from error


def put_text(group: Any, name: str, text: bytes) -> None:
    """Store ASCII text as a scalar of fixed length, which can be measured before it is read, with its checksum."""
    stored = group.create_dataset(name, data=np.bytes_(text), dtype=f"S{max(1, len(text))}")
    stored.attrs["crc32"] = np.uint32(zlib.crc32(text))


def get_text(group: Any, name: str) -> bytes:
    """Read a text; raise ValueError where it is too long or is none."""
    found = _dataset(group, name, MAX_EVENT_BYTES)
    if found.shape != () or found.dtype.kind != "S":
        raise ValueError(f"{name} is not a text")
    text = bytes(found[()])
    if _small_attribute(found, "crc32") != zlib.crc32(text):
        raise ValueError(f"{name} does not fit its checksum")
    return text


def put_array(group: Any, name: str, array: AnyArray, *, compressed: bool = True) -> None:
    """Store an array in one chunk with a checksum."""
    if array.dtype.kind not in "buif" or array.nbytes > MAX_ARRAY_BYTES:
        raise InputError(
            f"An array {array.shape} of {array.dtype} cannot be recorded. Give real numbers, and fewer."
        )
    filters: dict[str, Any] = {}
    if array.size:
        filters = {"chunks": array.shape, "fletcher32": True}
        if compressed:
            filters |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    group.create_dataset(name, data=array, **filters)


def get_array(group: Any, name: str, rank: int) -> AnyArray:
    """Read an array; raise ValueError where it is too large or of another kind than `put_array` writes."""
    found = _dataset(group, name, MAX_ARRAY_BYTES)
    if len(found.shape) != rank or found.dtype.kind not in "buif":
        raise ValueError(f"{name} is {found.dtype} {found.shape}")
    array: AnyArray = found[()]
    return array


def get_group(group: Any, name: str) -> Any:
    """Open a group that lies in this very file; raise ValueError where it is anything else."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], h5py.Group):
        raise ValueError(f"there is no group {name}")
    return group[name]


def names(group: Any) -> list[str]:
    """What lies in a group, sorted; raise ValueError where there is too much."""
    if len(group) > MAX_ENTRIES:
        raise ValueError(f"{len(group)} entries")
    return sorted(group)


def _small_attribute(owner: Any, name: str) -> Any:
    kept = owner.attrs.get_id(name)
    if kept.shape != () or kept.dtype.kind not in "Siu" or kept.dtype.itemsize > 64:
        raise ValueError(f"strange attribute {name}")
    return owner.attrs[name]


def _dataset(group: Any, name: str, most_bytes: int) -> Any:
    """Open a dataset whose values lie in this file and can be no larger than that, compressed or not."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or lies in another file")
    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.external or found.is_virtual:
        raise ValueError(f"{name} is not a plain array")
    item = found.dtype.itemsize
    sizes = [math.prod(found.shape), math.prod(found.chunks or ())]
    if found.dtype.hasobject or item == 0 or max(sizes) * item > most_bytes:
        raise ValueError(f"{name} is too large: {found.dtype} {found.shape}")
    kept = found.id.get_create_plist()
    if any(kept.get_filter(i)[0] not in _PLAIN_FILTERS for i in range(kept.get_nfilters())):
        raise ValueError(f"{name} is packed in a way that records are not")
    return found


@atexit.register
def _close_all() -> None:
    for file in list(_open_files):
        file.close()


def software() -> dict[str, str]:
    """Versions of what writes a record."""
    try:
        version = metadata.version("stemctx")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {"stemctx": version, "python": platform.python_version(), "h5py": h5py.__version__}
