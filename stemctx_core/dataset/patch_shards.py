"""Shards of patches.

Arrays of n samples of s scenes:

===================  ==================  =====================================================================
``electrons``        (n, 32, 32)         electrons counted in each sample of the patch
``label``            (n,) uint8          index into ``candidates`` of the sample's case, in the attributes
``weight``           (n,) float32        prevalence / sampling probability
``case``             (n,) uint16         number of the case, which names it in the attributes
``scene``            (n,) uint32         place in the next two
``scene_number``     (s,) uint32         its random numbers start from [the recipe's seed, this number]
``scene_context``    (s, c) float64      the values that ``context`` in the attributes names
===================  ==================  =====================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stemctx_core.contrast.patches import SIDE
from stemctx_core.dataset.recipe import DatasetRecipe
from stemctx_core.dataset.scenes import CONTEXT, labelled_scene
from stemctx_core.dataset.zarr_arrays import SceneRecord, add_array, attributes, case_attributes
from stemctx_core.simulation.library import ResponseLibrary

if TYPE_CHECKING:
    import zarr

#: Beam fraction that no sample reaches; counts are stored in 16 bits where it fits in.
_BRIGHTEST: Final = 0.5
_LARGEST_SAMPLE_ANGSTROM2: Final = (4.0 / 13) ** 2
_CHUNK: Final = 256


def counts_dtype(recipe: DatasetRecipe) -> np.dtype[Any]:
    """16-bit whole numbers where the highest dose fits into them."""
    most = recipe.dose_e_per_angstrom2[1] * _LARGEST_SAMPLE_ANGSTROM2 * _BRIGHTEST
    return np.dtype(np.uint16 if most <= np.iinfo(np.uint16).max else np.float32)


def write_patches(
    group: zarr.Group, recipe: DatasetRecipe, library: ResponseLibrary, numbers: range
) -> tuple[SceneRecord, ...]:
    """Render some scenes and write their patches into a group."""
    total = sum(recipe.samples_of(n) for n in numbers)
    electrons = np.empty((total, SIDE, SIDE), counts_dtype(recipe))
    label, weight = np.empty(total, np.uint8), np.empty(total, np.float32)
    case, place = np.empty(total, np.uint16), np.empty(total, np.uint32)
    records, contexts, first = [], [], 0
    cases: dict[int, Any] = {}
    for k, number in enumerate(numbers):
        scene = labelled_scene(library, recipe, number)
        rows = slice(first, first + len(scene.label))
        electrons[rows] = scene.electrons.reshape(-1, SIDE, SIDE)
        label[rows], weight[rows], case[rows], place[rows] = scene.label, scene.weight, scene.case, k
        records.append(SceneRecord(number, scene.case, rows.start, rows.stop))
        contexts.append([scene.context[name] for name in CONTEXT])
        cases[scene.case] = case_attributes(scene.truth.host.name, scene.truth.candidates)
        first = rows.stop
    add_array(group, "electrons", electrons, _CHUNK)
    add_array(group, "label", label)
    add_array(group, "weight", weight)
    add_array(group, "case", case)
    add_array(group, "scene", place)
    add_array(group, "scene_number", np.array([r.number for r in records], np.uint32))
    add_array(group, "scene_context", np.array(contexts))
    group.attrs.update(attributes(recipe, cases) | {"context": list(CONTEXT)})
    return tuple(records)
