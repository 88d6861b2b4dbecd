"""Arrays, attributes and scenes of a shard's zarr group, of whichever kind its samples are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate
from stemctx_core.dataset.recipe import DatasetRecipe

if TYPE_CHECKING:
    import zarr


class SceneRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scene within a shard: its number, its case, and its rows from `first` to before `last`."""

    number: int
    case: int
    first: int
    last: int


def attributes(recipe: DatasetRecipe, cases: dict[int, Any]) -> dict[str, Any]:
    """Attributes of a shard's group."""
    named = {str(number): cases[number] for number in sorted(cases)}
    return {"kind": recipe.kind.value, "seed": recipe.seed, "cases": named}


def case_attributes(host: str, listed: Sequence[Candidate]) -> dict[str, Any]:
    """What the labels of a case mean."""
    return {
        "host": host,
        "candidates": [c.species for c in listed],
        "roles": [c.role.value for c in listed],
    }


def add_array(group: zarr.Group, name: str, values: NDArray[Any], chunk: int | None = None) -> None:
    """Store an array as one file; `chunk` items of it can be read by themselves."""
    length = chunk or max(len(values), 1)
    shards = None if chunk is None else (-(-len(values) // chunk) * chunk, *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=(length, *values.shape[1:]), shards=shards
    )
    array[:] = values
