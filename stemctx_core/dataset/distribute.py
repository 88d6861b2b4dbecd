"""Shards made in this process, by processes of this machine, or by a dask cluster.

Who makes a shard does not matter: it follows from the configuration and its number. A worker that dies loses only the
shard it was at, which another one makes again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from stemctx_core.dataset.shards import (
    Configuration,
    configuration_here,
    read_record,
    shard_name,
    versions,
    write_shard,
)
from stemctx_core.errors import InputError
from stemctx_core.simulation.library import ResponseLibrary, shipped_library

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_TIMEOUT_S: Final = 5
#: Each worker renders on one core; what uses threads inside it is told so.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@lru_cache(maxsize=2)
def opened_library(path: str | None) -> ResponseLibrary:
    """A response library by its path, the shipped one for None."""
    return shipped_library() if path is None else ResponseLibrary(Path(path))


def make_shard(folder: str, order: bytes, library_path: str | None, number: int) -> int:
    """Write one shard where this process stands, unless it is there; returns its number of samples.

    Parameters
    ----------
    order
        The `Configuration` as JSON, so that nothing of ours is pickled.

    Raises
    ------
    InputError
        Where this process has not the folder, or would not use the configuration that is asked for.
    """
    wanted = msgspec.json.decode(order, type=Configuration)
    library = opened_library(library_path)
    here = configuration_here(wanted.recipe, library)
    if here != wanted:
        raise InputError(
            f"A worker would not write what is asked for: it has {versions(here.packages)} and the library "
            f"{here.library_sha256[:12]}, asked for are {versions(wanted.packages)} and {wanted.library_sha256[:12]}. "
            "Install the same versions everywhere."
        )
    if not Path(folder).is_dir():
        raise InputError(f"A worker has no folder {folder}. Choose one that all workers share.")
    there = read_record(Path(folder), number)
    if there is not None and there.configuration == here and (Path(folder) / shard_name(number)).is_dir():
        # dask asks again for what was finished by a worker that has died since.
        return there.samples
    return write_shard(Path(folder), here, library, number).samples


def make_here(
    folder: Path, configuration: Configuration, library_path: str | None, numbers: Sequence[int]
) -> Iterator[int]:
    """Make shards one after the other in this process; yields the samples of each.

    Raises
    ------
    InputError
        As `make_shard`.
    """
    order = msgspec.json.encode(configuration)
    for number in numbers:
        yield make_shard(str(folder), order, library_path, number)


def make_on(
    client: Client,
    folder: Path,
    configuration: Configuration,
    library_path: str | None,
    numbers: Sequence[int],
) -> Iterator[int]:
    """Make shards on a cluster; yields the samples of each as it is finished.

    Raises
    ------
    InputError
        As `make_shard`; or a shard that killed several workers.
    """
    from distributed import KilledWorker, as_completed

    order = msgspec.json.encode(configuration)
    futures = [
        client.submit(make_shard, str(folder.absolute()), order, library_path, n, key=f"shard-{n}", pure=False)
        for n in numbers
    ]
    try:
        for future in as_completed(futures):
            yield future.result()
    except KilledWorker as error:
        raise InputError(
            f"Several workers died over one shard ({error.task}). Is there too little memory? Finished shards are kept: "
            "give the same command again, with fewer --workers."
        ) from None
    finally:
        client.cancel(futures)


@contextmanager
def cluster(workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of the cluster at an address, or of a new one of this machine's processes, on loopback only.

    Raises
    ------
    InputError
        Where ``distributed`` is not installed or no scheduler answers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError('distributed is not installed. Run: pip install "stemctx[dataset]"') from None
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise InputError(
                f"No dask scheduler answers at {scheduler}: {error}. Start one with 'dask scheduler', or leave --scheduler out."
            ) from None
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.ERROR,
            env=_ONE_THREAD,
        ) as local,
        Client(local) as client,
    ):
        yield client


def make_shards(
    folder: Path,
    configuration: Configuration,
    library_path: str | None,
    numbers: Sequence[int],
    client: Client | None = None,
) -> Iterator[int]:
    """Make shards on a cluster, or in this process where there is none; yields the samples of each."""
    if client is None:
        return make_here(folder, configuration, library_path, numbers)
    return make_on(client, folder, configuration, library_path, numbers)
