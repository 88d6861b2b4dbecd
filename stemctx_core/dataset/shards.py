"""One shard of a dataset: a zarr v3 group on disk, and the record beside it.

A shard is written under another name and renamed when it is whole; it counts from the moment its record is there. The
record says what the process that wrote it really used, and the sha256 of every byte of the group. Nothing in either
depends on the time, the machine or the number of processes.

What the arrays are: `patch_shards`, `frame_shards`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from stemctx_core.dataset.frame_shards import write_frames
from stemctx_core.dataset.kinds import Kind
from stemctx_core.dataset.patch_shards import write_patches
from stemctx_core.dataset.recipe import DatasetRecipe
from stemctx_core.dataset.zarr_arrays import SceneRecord
from stemctx_core.errors import InputError
from stemctx_core.simulation.library import ResponseLibrary

if TYPE_CHECKING:
    pass

_FORMAT: Final = 1
#: Packages whose version may move a byte.
_PACKAGES: Final = ("stemctx", "numpy", "scipy", "numba", "zarr", "numcodecs")
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the bytes of a dataset follow from.

    Attributes
    ----------
    recipe, library_sha256
        What is rendered, from which responses.
    packages
        Versions.
    format
        Of the files.
    """

    recipe: DatasetRecipe
    library_sha256: str
    packages: dict[str, str]
    format: int = _FORMAT

    @property
    def sha256(self) -> str:
        """Fingerprint."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class ShardRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was written, and with what.

    Attributes
    ----------
    number, samples
        Of the shard.
    sha256
        Of the group, as `folder_sha256`.
    configuration
        What the writing process really used.
    scenes
        In the order of their rows.
    """

    number: int
    samples: int
    sha256: str
    configuration: Configuration
    scenes: tuple[SceneRecord, ...]


def configuration_here(recipe: DatasetRecipe, library: ResponseLibrary) -> Configuration:
    """What this process would use."""
    return Configuration(recipe, library.sha256, {name: metadata.version(name) for name in _PACKAGES})


def shard_name(number: int) -> str:
    """Name of a shard's group."""
    return f"shard-{number:06d}.zarr"


def record_path(folder: Path, number: int) -> Path:
    """Where a shard's record stands."""
    return folder / f"shard-{number:06d}.json"


def folder_sha256(folder: Path) -> str:
    """sha256 over the name, the length and the bytes of every file of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def write_shard(
    folder: Path, configuration: Configuration, library: ResponseLibrary, number: int
) -> ShardRecord:
    """Render a shard and put it in place.

    Raises
    ------
    InputError
        A disk without room; what was finished before stays.
    """
    part = folder / f"{shard_name(number)}.{uuid.uuid4().hex}.part"
    try:
        scenes = _write(part, configuration.recipe, library, number)
        record = ShardRecord(number, scenes[-1].last, folder_sha256(part), configuration, scenes)
        place = folder / shard_name(number)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
        write_durably(record_path(folder, number), msgspec.json.encode(record))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise InputError(
                f"No room is left for shard {number} in {folder}: {error.strerror}. Finished shards are kept: make room, "
                "and give the same command again."
            ) from None
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return record


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is never there in half, also where processes write the same one or the power fails."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(part: Path, recipe: DatasetRecipe, library: ResponseLibrary, number: int) -> tuple[SceneRecord, ...]:
    import zarr

    group = zarr.open_group(zarr.storage.LocalStore(part), mode="w", zarr_format=3)
    write = write_frames if recipe.kind is Kind.FRAMES else write_patches
    return write(group, recipe, library, recipe.scenes_of(number))


def read_record(folder: Path, number: int) -> ShardRecord | None:
    """A shard's record; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode(record_path(folder, number).read_bytes(), type=ShardRecord)
    except (OSError, msgspec.DecodeError, InputError):
        return None


def fault_of(folder: Path, configuration: Configuration, number: int) -> str | None:
    """What is wrong with a shard, None where nothing is."""
    if not record_path(folder, number).exists():
        return "is missing"
    record = read_record(folder, number)
    if record is None:
        return "has a record that cannot be read"
    if record.configuration != configuration or record.number != number:
        return "is of another configuration"
    if not (folder / shard_name(number)).is_dir():
        return "is missing"
    if folder_sha256(folder / shard_name(number)) != record.sha256:
        return "is corrupt: its sha256 is not the one in its record"
    return None


def versions(packages: Mapping[str, str]) -> str:
    """Packages and versions in words."""
    return ", ".join(f"{name} {version}" for name, version in packages.items())
