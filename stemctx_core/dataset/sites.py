"""Lattice sites over a field: one grain or two, and a second layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.dataset.regions import GrainBoundary, SecondLayer

#: Columns this far outside the field are made too, since their tails reach into it (Å).
MARGIN_ANGSTROM: Final = 7.0
#: Sites of two grains nearer than this share of a bond exclude each other.
_CLOSEST_BONDS: Final = 0.75
#: Sites this near an edge, a hole, a boundary or a second layer have not the neighbours of a crystal (lattice constants).
DISTURBED: Final = 1.05

Pair = tuple[float, float]


@dataclass(frozen=True)
class LatticeSites:
    """Sites of a sheet, n of them.

    Attributes
    ----------
    positions_angstrom
        (n, 2) y, x.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    grain, layer
        (n,) int8, 0 for the first.
    disturbed
        (n,) whether a boundary or a second layer is beside the site.
    """

    positions_angstrom: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    grain: NDArray[np.int8]
    layer: NDArray[np.int8]
    disturbed: NDArray[np.bool_]

    def chosen(self, kept: NDArray[np.bool_]) -> LatticeSites:
        """The sites that a mask picks."""
        return LatticeSites(
            self.positions_angstrom[kept],
            self.sublattice[kept],
            self.grain[kept],
            self.layer[kept],
            self.disturbed[kept],
        )

    def joined(self, other: LatticeSites) -> LatticeSites:
        """These sites, then those of another."""
        return LatticeSites(
            np.concatenate([self.positions_angstrom, other.positions_angstrom]),
            np.concatenate([self.sublattice, other.sublattice]),
            np.concatenate([self.grain, other.grain]),
            np.concatenate([self.layer, other.layer]),
            np.concatenate([self.disturbed, other.disturbed]),
        )


def honeycomb(
    a_angstrom: float,
    rotation_rad: float,
    offset_angstrom: Pair,
    extent_angstrom: Pair,
    margin_angstrom: float = MARGIN_ANGSTROM,
    grain: int = 0,
    layer: int = 0,
) -> LatticeSites:
    """Sites of both sublattices over a field and its margin.

    Parameters
    ----------
    rotation_rad
        Of the first lattice vector from the x axis towards y; the second stands 60° further.
    offset_angstrom
        Of a metal site from the middle of the field, y, x.
    """
    basis = a_angstrom * np.stack([direction(rotation_rad), direction(rotation_rad + np.pi / 3)])
    middle = np.array(extent_angstrom) / 2
    reach = (
        float(np.hypot(*extent_angstrom)) / 2
        + margin_angstrom
        + float(np.hypot(*offset_angstrom))
        + 2 * a_angstrom
    )
    count = int(reach / (a_angstrom * math.sqrt(3) / 2)) + 2
    i, j = np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1), indexing="ij")
    metal = np.stack([i.ravel(), j.ravel()], axis=1) @ basis + middle + np.array(offset_angstrom)
    sites = np.concatenate([metal, metal + basis.sum(axis=0) / 3])
    sublattice = np.repeat(np.array([0, 1], np.int8), len(metal))
    near = np.all((sites > -margin_angstrom) & (sites < np.array(extent_angstrom) + margin_angstrom), axis=1)
    sites, sublattice = sites[near], sublattice[near]
    return LatticeSites(
        sites,
        sublattice,
        np.full(len(sites), grain, np.int8),
        np.full(len(sites), layer, np.int8),
        np.zeros(len(sites), bool),
    )


def direction(angle_rad: float) -> NDArray[np.float64]:
    """Unit vector (y, x) at an angle from the x axis towards y."""
    return np.array([math.sin(angle_rad), math.cos(angle_rad)])


def with_boundary(
    first: LatticeSites,
    a_angstrom: float,
    rotation_rad: float,
    offset_angstrom: Pair,
    boundary: GrainBoundary,
    extent_angstrom: Pair,
    margin_angstrom: float,
    rng: np.random.Generator,
) -> LatticeSites:
    """A second grain beyond the boundary's line; where both would stand too close, the first grain's site stays."""
    line, phases = boundary.line, rng.uniform(0, 2 * np.pi, 3)
    start, turned = rng.uniform(0, a_angstrom, 2), rotation_rad + boundary.rotation_rad
    if boundary.kind == "mirror":
        # The mirror image in a line whose normal stands at n of a direction at r is one at 2n + π - r, so that the
        # image of the second lattice vector stands 60° before that of the first.
        turned = 2 * line.azimuth_rad + np.pi - rotation_rad - np.pi / 3
        normal = direction(line.azimuth_rad)
        distance = float(np.array(offset_angstrom) @ normal) - line.offset * min(extent_angstrom)
        start = np.array(offset_angstrom) - 2 * distance * normal
    second = honeycomb(
        a_angstrom, turned, (float(start[0]), float(start[1])), extent_angstrom, margin_angstrom, grain=1
    )
    on_first = line.beyond(first.positions_angstrom, extent_angstrom, phases)
    on_second = line.beyond(second.positions_angstrom, extent_angstrom, phases)
    first, second = first.chosen(on_first <= 0), second.chosen(on_second > 0)
    if len(first.grain) and len(second.grain):
        gap = cKDTree(first.positions_angstrom).query(second.positions_angstrom)[0]
        second = second.chosen(gap > _CLOSEST_BONDS * a_angstrom / math.sqrt(3))
    both = first.joined(second)
    beside = np.abs(line.beyond(both.positions_angstrom, extent_angstrom, phases)) < DISTURBED * a_angstrom
    return LatticeSites(
        both.positions_angstrom, both.sublattice, both.grain, both.layer, both.disturbed | beside
    )


def with_second_layer(
    sheet: LatticeSites,
    a_angstrom: float,
    rotation_rad: float,
    offset_angstrom: Pair,
    second: SecondLayer,
    extent_angstrom: Pair,
    margin_angstrom: float,
    rng: np.random.Generator,
) -> LatticeSites:
    """A second sheet beyond its line."""
    phases = rng.uniform(0, 2 * np.pi, 3)
    bond = a_angstrom / math.sqrt(3) * direction(rotation_rad + np.pi / 6)
    start = np.array(offset_angstrom) + second.shift * bond
    turned = rotation_rad + second.twist_rad
    above = honeycomb(
        a_angstrom, turned, (float(start[0]), float(start[1])), extent_angstrom, margin_angstrom, layer=1
    )
    above = above.chosen(second.line.beyond(above.positions_angstrom, extent_angstrom, phases) > 0)
    both = sheet.joined(above)
    beside = second.line.beyond(both.positions_angstrom, extent_angstrom, phases) > -DISTURBED * a_angstrom
    return LatticeSites(
        both.positions_angstrom, both.sublattice, both.grain, both.layer, both.disturbed | beside
    )
