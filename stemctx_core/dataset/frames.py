"""Whole labelled frames: a crystal seen by one or two detectors of one scan, as a pure function of recipe and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import HOST_ROLES, Candidate
from stemctx_core.chemistry.site_labels import SiteLabels
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import Crystal, CrystalRecipe, grow_crystal
from stemctx_core.dataset.sites import MARGIN_ANGSTROM
from stemctx_core.errors import InputError
from stemctx_core.simulation.imaging import ImagingChain, Scan, check_dose
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import astigmatic_tables, render_columns, response_tables

_LARGEST_FRAME: Final = 8192
_RECORD_VERSION: Final = 1
#: Name, smallest and largest value of a recipe's numbers; the library narrows the aberrations further.
_RANGES: Final = (
    ("pixel_size_angstrom", 0.02, 2.0),
    ("sigma_angstrom", 0.0, 3.0),
    ("defocus_nm", -1e3, 1e3),
    ("astigmatism_nm", 0.0, 1e3),
    ("astigmatism_azimuth_rad", -7.0, 7.0),
)


class FrameRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a frame is made; with a seed it says every byte of it.

    Attributes
    ----------
    case
        Host, dopants, energy, convergence and the first detector.
    second_detector_mrad
        Inner and outer angle of another detector of the same scan.
    shape
        Height and width in pixels.
    pixel_size_angstrom
        Square pixels.
    dose_e_per_angstrom2
        Electrons that arrive per area.
    sigma_angstrom
        Round part of the effective source.
    defocus_nm, astigmatism_nm, astigmatism_azimuth_rad
        What is left of the probe's aberrations, as in `Optics`.
    crystal
        What is imaged.
    chain
        What the microscope does to it.
    """

    case: Case
    second_detector_mrad: tuple[float, float] | None = None
    shape: tuple[int, int] = (1024, 1024)
    pixel_size_angstrom: float = 0.2
    dose_e_per_angstrom2: float = 1e4
    sigma_angstrom: float = 0.4
    defocus_nm: float = 0.0
    astigmatism_nm: float = 0.0
    astigmatism_azimuth_rad: float = 0.0
    crystal: CrystalRecipe = CrystalRecipe()
    chain: ImagingChain = ImagingChain()

    def __post_init__(self) -> None:
        check_dose(self.dose_e_per_angstrom2)
        if not all(1 <= n <= _LARGEST_FRAME for n in self.shape):
            raise InputError(
                f"A frame of {self.shape[0]} × {self.shape[1]} pixels cannot be made: give 1 to {_LARGEST_FRAME} along each side."
            )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise InputError(
                    f"{name} of a frame is {value:g}. Give a number from {low:g} to {high:g}; check the unit."
                )

    @property
    def detectors_mrad(self) -> tuple[tuple[float, float], ...]:
        """Inner and outer angle of each detector."""
        first = (self.case.inner_mrad, self.case.outer_mrad)
        return (first,) if self.second_detector_mrad is None else (first, self.second_detector_mrad)


@dataclass(frozen=True)
class SiteTruth(SiteLabels):
    """The sites of a frame, n of them, those without an atom too.

    Attributes
    ----------
    positions_px
        (n, 2) float64 y, x array-index coordinates where the column appears: relaxation, drift, warp and flyback included.
    lattice_px
        (n, 2) the same of the ideal site, without relaxation and static displacements.
    column_index
        (n,) int64 row of `candidates`.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    grain, layer
        (n,) int8, 0 for the first.
    valid
        (n,) whether the site has a crystal's neighbours: one layer, and no edge, hole or boundary beside it.
    candidates
        What can stand at a site.
    """

    positions_px: NDArray[np.float64]
    lattice_px: NDArray[np.float64]
    column_index: NDArray[np.int64]
    sublattice: NDArray[np.int8]
    grain: NDArray[np.int8]
    layer: NDArray[np.int8]
    valid: NDArray[np.bool_]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class LabelledFrame:
    """Images of one scan, one for each detector, with what is there.

    Attributes
    ----------
    images
        (detectors, height, width) float32 electrons a pixel, or what the chain's gain and converter make of them.
    sites
        Every site within the frame.
    record
        Recipe, seed and what was drawn, of types that JSON has; `rebuilt` makes the frame from it again.
    """

    images: NDArray[np.float32] | NDArray[np.uint16]
    sites: SiteTruth
    record: dict[str, Any]


def labelled_frame(library: ResponseLibrary, recipe: FrameRecipe, seed: int) -> LabelledFrame:
    """Make a frame; the same library, recipe and seed give the same bytes, however many threads there are.

    Raises
    ------
    LibraryError
        Where the library has nothing for a column or a detector.
    InputError
        A seed below zero.
    """
    if seed < 0:
        raise InputError(f"The seed of a frame is {seed}. Give a whole number from 0 upwards.")
    px, case = recipe.pixel_size_angstrom, recipe.case
    extent = (recipe.shape[0] * px, recipe.shape[1] * px)
    bare = Scan(recipe.shape, px, (), recipe.dose_e_per_angstrom2, seed)
    margin = MARGIN_ANGSTROM + 1.2 * px * recipe.chain.reach_px(bare)
    rng = np.random.default_rng([seed, 0])
    crystal = grow_crystal(case.host, case.dopants, recipe.crystal, extent, rng, margin)
    columns, optics = [c.column for c in crystal.candidates], _optics(recipe)
    tables = [response_tables(library, columns, o) for o in optics]
    reference = tuple(_reference(crystal.candidates, table) for table in tables)
    scan = replace(bare, reference=reference, covered=_covered(crystal, recipe))
    positions = recipe.chain.displaced(crystal.positions_angstrom / px, scan)
    fractions = np.empty((len(optics), *recipe.shape), np.float32)
    for d, (o, table) in enumerate(zip(optics, tables, strict=True)):
        turning = astigmatic_tables(library, columns, o) if o.astigmatism_nm else None
        fractions[d] = render_columns(
            recipe.shape, px, positions, crystal.column_index, table,
            astigmatic=turning, astigmatism_azimuth_rad=o.astigmatism_azimuth_rad,
        )  # fmt: skip
    images = recipe.chain.detected(recipe.chain.intensities(fractions, scan), scan)
    lattice = recipe.chain.displaced(crystal.lattice_angstrom / px, scan)
    sites = _truth(crystal, positions, lattice, recipe.shape)
    return LabelledFrame(images, sites, _record(recipe, seed, crystal))


def rebuilt(library: ResponseLibrary, record: dict[str, Any]) -> LabelledFrame:
    """Make a frame again from its record.

    Raises
    ------
    InputError
        A record of another version, or one that is not of a frame.
    """
    if record.get("version") != _RECORD_VERSION:
        raise InputError(
            f"This is not a frame's record of version {_RECORD_VERSION}, but {record.get('version')!r}. "
            "Make the frame again from its recipe."
        )
    try:
        recipe = msgspec.convert(record["recipe"], FrameRecipe)
        seed = msgspec.convert(record["seed"], int)
    except (KeyError, msgspec.ValidationError) as error:
        raise InputError(
            f"The frame's record cannot be read: {error}. Make the frame again from its recipe."
        ) from None
    return labelled_frame(library, recipe, seed)


def _optics(recipe: FrameRecipe) -> list[Optics]:
    case, r = recipe.case, recipe
    return [
        Optics(
            case.high_tension_kv, case.convergence_semi_angle_mrad, inner, outer, r.sigma_angstrom,
            r.defocus_nm, r.astigmatism_nm, r.astigmatism_azimuth_rad,
        )
        for inner, outer in recipe.detectors_mrad
    ]  # fmt: skip


def _reference(listed: tuple[Candidate, ...], table: NDArray[np.float32]) -> float:
    """Peak of the host's brighter column."""
    return float(max(table[k, 0] for k, c in enumerate(listed) if c.role in HOST_ROLES))


def _covered(crystal: Crystal, recipe: FrameRecipe) -> NDArray[np.float32] | None:
    """Which pixels have a sheet under them."""
    if not crystal.void.shapes:
        return None
    grid = np.indices(recipe.shape).reshape(2, -1).T.astype(np.float64) * recipe.pixel_size_angstrom
    covered: NDArray[np.float32] = np.clip(0.5 - crystal.void.depth_angstrom(grid), 0, 1).astype(np.float32)
    return covered.reshape(recipe.shape)


def _truth(
    crystal: Crystal,
    positions_px: NDArray[np.float64],
    lattice_px: NDArray[np.float64],
    shape: tuple[int, int],
) -> SiteTruth:
    inside = np.all((lattice_px >= -0.5) & (lattice_px < np.array(shape) - 0.5), axis=1)
    return SiteTruth(
        positions_px[inside],
        lattice_px[inside],
        crystal.column_index[inside],
        crystal.sublattice[inside],
        crystal.grain[inside],
        crystal.layer[inside],
        crystal.valid[inside],
        crystal.candidates,
    )


def _record(recipe: FrameRecipe, seed: int, crystal: Crystal) -> dict[str, Any]:
    drawn = {
        "rotation_rad": crystal.rotation_rad,
        "offset_angstrom": list(crystal.offset_angstrom),
        "species": crystal.counts(),
    }
    record: dict[str, Any] = msgspec.to_builtins(
        {"version": _RECORD_VERSION, "seed": seed, "recipe": recipe, "drawn": drawn}
    )
    return record
