"""A dataset's folder: its configuration, which shards are whole, and one Parquet index over all of them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from stemctx_core.dataset.shards import (
    Configuration,
    ShardRecord,
    fault_of,
    read_record,
    record_path,
    shard_name,
    versions,
    write_durably,
)
from stemctx_core.errors import InputError

CONFIGURATION_NAME: Final = "dataset.json"
INDEX_NAME: Final = "index.parquet"


def prepare(folder: Path, configuration: Configuration) -> None:
    """Make the folder, or see that it is this dataset's; what a killed run left in half is removed.

    Raises
    ------
    InputError
        A folder that cannot be written to, holds something else or is of another configuration.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be written to: {error.strerror}. Choose another --output."
        ) from None
    if (folder / CONFIGURATION_NAME).exists():
        _compare(folder, read_configuration(folder), configuration)
    elif any(folder.iterdir()):
        raise InputError(
            f"The folder {folder} holds something else than a dataset. Choose an empty one as --output."
        )
    else:
        write_durably(folder / CONFIGURATION_NAME, msgspec.json.format(msgspec.json.encode(configuration)))
    for part in folder.glob("*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def read_configuration(folder: Path) -> Configuration:
    """Configuration of a dataset's folder.

    Raises
    ------
    InputError
        Where the folder is no dataset's.
    """
    try:
        content = (folder / CONFIGURATION_NAME).read_bytes()
        return msgspec.json.decode(content, type=Configuration)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(
            f"{folder} is not a dataset: its {CONFIGURATION_NAME} cannot be read ({error}). Give the folder that "
            "'stemctx simulate dataset --output' wrote."
        ) from None


def _compare(folder: Path, there: Configuration, wanted: Configuration) -> None:
    if there == wanted:
        return
    old, new = msgspec.to_builtins(there.recipe), msgspec.to_builtins(wanted.recipe)
    differing = [f"{name} is {old[name]} there and {new[name]} here" for name in old if old[name] != new[name]]
    if there.library_sha256 != wanted.library_sha256:
        differing.append("the response library is another one")
    if there.packages != wanted.packages:
        differing.append(f"it was made with {versions(there.packages)}, here are {versions(wanted.packages)}")
    raise InputError(
        f"The folder {folder} holds a dataset of another configuration: {'; '.join(differing) or 'another format'}. "
        "Choose another --output, or give the options it was begun with."
    )


def missing_shards(folder: Path, configuration: Configuration) -> list[int]:
    """Shards that have no record of this configuration."""
    return [
        number
        for number in range(configuration.recipe.shards)
        if (record := read_record(folder, number)) is None
        or record.configuration != configuration
        or not (folder / shard_name(number)).is_dir()
    ]


def faults(folder: Path, configuration: Configuration) -> dict[int, str]:
    """What is wrong with each shard that is not whole; every byte is read."""
    found = {n: fault_of(folder, configuration, n) for n in range(configuration.recipe.shards)}
    return {number: fault for number, fault in found.items() if fault is not None}


def discard(folder: Path, number: int) -> None:
    """Take a shard away, its record first, so that it never counts without its data."""
    record_path(folder, number).unlink(missing_ok=True)
    shutil.rmtree(folder / shard_name(number), ignore_errors=True)


def write_index(folder: Path, configuration: Configuration) -> int:
    """Write the index over all finished shards, a row for each scene; returns the number of samples.

    Columns: shard, first and last row in it (the last is past the end), scene, seed, case, host, dopants,
    high_tension_kv, inner_mrad, outer_mrad, convergence_semi_angle_mrad, shard_sha256, configuration_sha256.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    recipe, sha256 = configuration.recipe, configuration.sha256
    cases = recipe.choice.cases()
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for number in range(recipe.shards):
        record = read_record(folder, number)
        if record is None:
            continue
        for row in _rows(record, recipe.seed, cases, sha256):
            for name, value in zip(_COLUMNS, row, strict=True):
                columns[name].append(value)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write_durably(folder / INDEX_NAME, buffer.getvalue())
    return sum(last - first for first, last in zip(columns["first"], columns["last"], strict=True))


_COLUMNS: Final = (
    "shard",
    "first",
    "last",
    "scene",
    "seed",
    "case",
    "host",
    "dopants",
    "high_tension_kv",
    "inner_mrad",
    "outer_mrad",
    "convergence_semi_angle_mrad",
    "shard_sha256",
    "configuration_sha256",
)


def _rows(record: ShardRecord, seed: int, cases: dict[int, Any], sha256: str) -> list[tuple[Any, ...]]:
    rows = []
    for scene in record.scenes:
        case = cases[scene.case]
        rows.append(
            (
                shard_name(record.number),
                scene.first,
                scene.last,
                scene.number,
                seed,
                scene.case,
                case.host.name,
                " ".join(case.dopants),
                case.high_tension_kv,
                case.inner_mrad,
                case.outer_mrad,
                case.convergence_semi_angle_mrad,
                record.sha256,
                sha256,
            )
        )
    return rows
