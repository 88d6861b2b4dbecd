"""A finite doped 1H crystal over a field: every site with what stands there, and whether it can be judged fairly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate, Role
from stemctx_core.chemistry.materials import Host
from stemctx_core.chemistry.site_labels import SiteLabels
from stemctx_core.dataset.population import populate
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line, SecondLayer
from stemctx_core.dataset.sites import DISTURBED, MARGIN_ANGSTROM, honeycomb, with_boundary, with_second_layer
from stemctx_core.errors import InputError
from stemctx_core.simulation.relaxation import relaxation_angstrom


class CrystalRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a crystal is like.

    Attributes
    ----------
    prevalence
        How often a role is met at a site of its sublattice; what is left out is as in `classes.REAL_PREVALENCE`.
    substitutes, antisites, complexes
        Which candidates there are beyond L7, as in `classes.candidates`.
    clustering
        Share of the dopants that stand beside another dopant.
    rotation_rad
        Of the first lattice vector from the x axis towards y; None draws one.
    offset_angstrom
        Of a metal site from the middle of the field, y, x; None draws one.
    jitter_angstrom
        Static displacement of every column (standard deviation per axis).
    relaxation
        Factor on the displacement field around defects; 0 leaves the lattice ideal.
    boundary, holes, edge, second_layer
        Where the sheet is not one perfect layer. The flake lies on the side that the edge's normal points away from.
    """

    prevalence: dict[Role, float] = {}
    substitutes: tuple[str, ...] = ()
    antisites: bool = False
    complexes: bool = False
    clustering: float = 0.0
    rotation_rad: float | None = None
    offset_angstrom: tuple[float, float] | None = None
    jitter_angstrom: float = 0.03
    relaxation: float = 1.0
    boundary: GrainBoundary | None = None
    holes: tuple[Hole, ...] = ()
    edge: Line | None = None
    second_layer: SecondLayer | None = None

    def __post_init__(self) -> None:
        for name, high in (("clustering", 1.0), ("jitter_angstrom", 1.0), ("relaxation", 10.0)):
            value = getattr(self, name)
            if not 0 <= value <= high:
                raise InputError(f"{name} of a crystal is {value:g}. Give a number from 0 to {high:g}.")


@dataclass(frozen=True)
class Void:
    """Where a field has no sheet: holes and what lies beyond the edge, with the phases of their rough outlines."""

    shapes: tuple[Line | Hole, ...]
    phases: NDArray[np.float64]
    extent: tuple[float, float]

    def depth_angstrom(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,) how far points lie within the void, negative on the sheet; -inf where there is no void at all."""
        depth = np.full(len(points), -np.inf)
        for shape, phases in zip(self.shapes, self.phases, strict=True):
            depth = np.maximum(depth, shape.beyond(points, self.extent, phases))
        return depth


@dataclass(frozen=True)
class Crystal(SiteLabels):
    """The sites of a crystal, n of them, vacant ones too.

    Attributes
    ----------
    positions_angstrom
        (n, 2) y, x with every displacement; the first pixel of the field is at (0, 0).
    lattice_angstrom
        (n, 2) y, x of the ideal sites.
    column_index
        (n,) int64 row of `candidates` that stands there.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    grain, layer
        (n,) int8, 0 for the first.
    valid
        (n,) whether the site has a crystal's neighbours: one layer, and no edge, hole or boundary beside it.
    candidates
        What can stand at a site.
    void
        Where the field has no sheet.
    rotation_rad, offset_angstrom
        Of the lattice, as drawn.
    """

    positions_angstrom: NDArray[np.float64]
    lattice_angstrom: NDArray[np.float64]
    column_index: NDArray[np.int64]
    sublattice: NDArray[np.int8]
    grain: NDArray[np.int8]
    layer: NDArray[np.int8]
    valid: NDArray[np.bool_]
    candidates: tuple[Candidate, ...]
    void: Void
    rotation_rad: float
    offset_angstrom: tuple[float, float]

    def counts(self) -> dict[str, int]:
        """How many sites of each species there are."""
        found = np.bincount(self.column_index, minlength=len(self.candidates))
        return {c.species: int(n) for c, n in zip(self.candidates, found, strict=True) if n}


def grow_crystal(
    host: Host,
    dopants: tuple[str, ...],
    recipe: CrystalRecipe,
    extent_angstrom: tuple[float, float],
    rng: np.random.Generator,
    margin_angstrom: float = MARGIN_ANGSTROM,
) -> Crystal:
    """Make a crystal that covers a field and a margin around it.

    Parameters
    ----------
    extent_angstrom
        Height and width of the field.
    rng
        The same state gives the same crystal.
    margin_angstrom
        How far the crystal goes on beyond the field.

    Raises
    ------
    InputError
        Unknown elements, prevalences that are not probabilities, a field without extent.
    """
    if not all(math.isfinite(e) and 0 < e < 1e5 for e in extent_angstrom):
        raise InputError(f"A field of {extent_angstrom[0]:g} × {extent_angstrom[1]:g} Å cannot be covered.")
    listed = classes.candidates(host.name, dopants, recipe.substitutes, recipe.antisites, recipe.complexes)
    shares = _shares(listed, recipe)
    a = host.a_angstrom
    turned, start_y, start_x = (float(v) for v in rng.uniform((0, -a / 2, -a / 2), (2 * np.pi, a / 2, a / 2)))
    rotation = turned if recipe.rotation_rad is None else recipe.rotation_rad
    offset = (start_y, start_x) if recipe.offset_angstrom is None else recipe.offset_angstrom
    shapes = (*recipe.holes, *((recipe.edge,) if recipe.edge else ()))
    void = Void(shapes, rng.uniform(0, 2 * np.pi, (len(shapes), 3)), extent_angstrom)
    sites = honeycomb(a, rotation, offset, extent_angstrom, margin_angstrom)
    if recipe.boundary is not None:
        sites = with_boundary(
            sites, a, rotation, offset, recipe.boundary, extent_angstrom, margin_angstrom, rng
        )
    if recipe.second_layer is not None:
        sites = with_second_layer(
            sites, a, rotation, offset, recipe.second_layer, extent_angstrom, margin_angstrom, rng
        )
    depth = void.depth_angstrom(sites.positions_angstrom)
    sites, depth = sites.chosen(depth < 0), depth[depth < 0]
    column = populate(sites, listed, shares, recipe.clustering, a, rng)
    positions = sites.positions_angstrom.copy()
    for layer in np.unique(sites.layer) if recipe.relaxation else ():
        of = sites.layer == layer
        moved = relaxation_angstrom(sites.positions_angstrom[of], column[of], listed, host.name, rng)
        positions[of] += recipe.relaxation * moved
    positions += rng.normal(0, 1, positions.shape) * recipe.jitter_angstrom
    valid = ~sites.disturbed & (depth < -DISTURBED * a)
    return Crystal(
        positions_angstrom=positions,
        lattice_angstrom=sites.positions_angstrom,
        column_index=column,
        sublattice=sites.sublattice,
        grain=sites.grain,
        layer=sites.layer,
        valid=valid,
        candidates=listed,
        void=void,
        rotation_rad=rotation,
        offset_angstrom=offset,
    )


def _shares(listed: tuple[Candidate, ...], recipe: CrystalRecipe) -> tuple[float, ...]:
    shares = classes.priors(listed, {**classes.REAL_PREVALENCE, **recipe.prevalence})
    if not all(math.isfinite(s) and 0 <= s <= 1 for s in shares):
        raise InputError(
            "The prevalences of the defects of a sublattice must lie between 0 and 1 and add up to no more than 1. "
            f"Got {', '.join(f'{r.value} {p:g}' for r, p in recipe.prevalence.items())}."
        )
    return shares
