"""Shards of whole labelled frames.

Arrays of n frames of d detectors with s sites in all: ``images`` (n, d, height, width); for every frame
``frame_number``, ``frame_case`` and ``first_site`` (n,); for every site ``site_position_px`` (s, 2) y, x, ``label`` (s,)
index into the candidates of the frame's case, ``weight`` (s,) prevalence over sampling probability on its
sublattice, ``sublattice`` and ``valid`` (s,). What was drawn for each frame stands in the attributes as JSON text, from
which `frames.rebuilt` makes the frame again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from stemctx_core.chemistry.classes import priors
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, LabelledFrame, labelled_frame
from stemctx_core.dataset.kinds import Imperfections
from stemctx_core.dataset.recipe import DatasetRecipe
from stemctx_core.dataset.weights import crystal_prevalence
from stemctx_core.dataset.zarr_arrays import SceneRecord, add_array, attributes, case_attributes
from stemctx_core.simulation.imaging import ImagingChain
from stemctx_core.simulation.library import ResponseLibrary

if TYPE_CHECKING:
    import zarr

_CHAINS = {
    Imperfections.PRISTINE: ImagingChain.pristine,
    Imperfections.TYPICAL: ImagingChain.typical,
    Imperfections.DIFFICULT: ImagingChain.difficult,
}


def frame_of(library: ResponseLibrary, recipe: DatasetRecipe, number: int) -> tuple[int, LabelledFrame]:
    """Case number and frame of a scene; the same library, recipe and number give the same bytes."""
    rng = np.random.default_rng([recipe.seed, number])
    case_number = recipe.case_number(number)
    case = recipe.choice.cases()[case_number]
    low, high = np.log(recipe.dose_e_per_angstrom2)
    frame = FrameRecipe(
        case=case,
        shape=recipe.shape,
        pixel_size_angstrom=recipe.pixel_size_angstrom,
        dose_e_per_angstrom2=float(np.exp(rng.uniform(low, high))),
        sigma_angstrom=float(rng.uniform(0.35, 0.55)),
        crystal=CrystalRecipe(
            prevalence=crystal_prevalence(recipe.candidates(case), recipe.sampling, recipe.power),
            substitutes=tuple(s for s in recipe.substitutes if s != case.host.chalcogen),
            antisites=recipe.antisites,
            complexes=recipe.complexes,
        ),
        chain=_CHAINS[recipe.imperfections](),
    )
    return case_number, labelled_frame(library, frame, int(rng.integers(2**62)))


def write_frames(
    group: zarr.Group, recipe: DatasetRecipe, library: ResponseLibrary, numbers: range
) -> tuple[SceneRecord, ...]:
    """Render frames and store them in a group."""
    drawn = [frame_of(library, recipe, number) for number in numbers]
    cases: dict[int, Any] = {}
    weights, records = [], []
    for place, (number, (case, frame)) in enumerate(zip(numbers, drawn, strict=True)):
        listed = frame.sites.candidates
        used = crystal_prevalence(listed, recipe.sampling, recipe.power)
        weights.append((np.array(priors(listed)) / np.array(priors(listed, used)))[frame.sites.column_index])
        cases[case] = case_attributes(recipe.choice.cases()[case].host.name, listed)
        records.append(SceneRecord(number, case, place, place + 1))
    sites = [frame.sites for _, frame in drawn]
    add_array(group, "images", np.stack([frame.images for _, frame in drawn]), 1)
    add_array(group, "frame_number", np.array([r.number for r in records], np.uint32))
    add_array(group, "frame_case", np.array([r.case for r in records], np.uint16))
    add_array(group, "first_site", np.cumsum([0, *map(len, sites)])[:-1].astype(np.uint32))
    add_array(group, "site_position_px", np.concatenate([s.positions_px for s in sites]))
    add_array(group, "label", np.concatenate([s.column_index for s in sites]).astype(np.uint8))
    add_array(group, "weight", np.concatenate(weights).astype(np.float32))
    add_array(group, "sublattice", np.concatenate([s.sublattice for s in sites]))
    add_array(group, "valid", np.concatenate([s.valid for s in sites]))
    records_of_frames = [json.dumps(frame.record, sort_keys=True) for _, frame in drawn]
    group.attrs.update(attributes(recipe, cases) | {"frames": records_of_frames})
    return tuple(records)
