"""Regions of a field: edge of a flake, holes, a second layer, the line between two grains."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line across the field, straight or wavy.

    Attributes
    ----------
    azimuth_rad
        Direction of its normal, from the x axis towards y.
    offset
        How far from the middle of the field along the normal, as a share of the shorter side.
    roughness_angstrom
        Standard deviation of its waves.
    """

    azimuth_rad: float = 0.4
    offset: float = 0.25
    roughness_angstrom: float = 0.0

    def beyond(
        self, points: NDArray[np.float64], extent: tuple[float, float], phases: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n,) distance (Å) of points to the line, positive on the side that the normal points to."""
        normal = np.array([np.sin(self.azimuth_rad), np.cos(self.azimuth_rad)])
        from_middle = points - np.array(extent) / 2
        along = from_middle @ np.array([normal[1], -normal[0]])
        waves = np.array([2 * np.pi / 60, 2 * np.pi / 23, 2 * np.pi / 11])
        rough = np.sin(along[:, None] * waves + phases).sum(axis=1) * self.roughness_angstrom * np.sqrt(2 / 3)
        distance: NDArray[np.float64] = from_middle @ normal - self.offset * min(extent) - rough
        return distance


class Hole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hole in the sheet.

    Attributes
    ----------
    centre
        y, x as shares of the field.
    radius_angstrom, roughness_angstrom
        Mean radius and the standard deviation of its outline.
    """

    centre: tuple[float, float] = (0.5, 0.5)
    radius_angstrom: float = 20.0
    roughness_angstrom: float = 1.5

    def __post_init__(self) -> None:
        if not (0 < self.radius_angstrom < 1e4 and 0 <= self.roughness_angstrom < self.radius_angstrom):
            raise InputError(
                f"A hole of radius {self.radius_angstrom:g} Å and roughness {self.roughness_angstrom:g} Å cannot be: "
                "give a radius above 0 and a roughness below it."
            )

    def beyond(
        self, points: NDArray[np.float64], extent: tuple[float, float], phases: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n,) how far inside the hole points are (Å), negative outside."""
        away = points - np.array(self.centre) * np.array(extent)
        angle = np.arctan2(away[:, 0], away[:, 1])
        rough = np.sin(angle[:, None] * np.array([2, 3, 5]) + phases).sum(axis=1)
        radius = self.radius_angstrom + rough * self.roughness_angstrom * np.sqrt(2 / 3)
        depth: NDArray[np.float64] = radius - np.hypot(away[:, 0], away[:, 1])
        return depth


class GrainBoundary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two lattices that meet along a line.

    Attributes
    ----------
    kind
        ``rotation``: the second grain is turned; ``mirror``: it is the mirror image in the line, a twin.
    rotation_rad
        Of the second grain against the first; unused for a twin.
    line
        Where they meet.
    """

    kind: Literal["rotation", "mirror"] = "rotation"
    rotation_rad: float = 0.38
    line: Line = Line(azimuth_rad=0.3, offset=0.0)


class SecondLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second layer beyond a line.

    Attributes
    ----------
    twist_rad
        Against the first; π is the stacking of 2H crystals when `shift` is as it stands here.
    shift
        Of the second layer's metal along the bond from metal to chalcogen, in bonds.
    line
        Its edge.
    """

    twist_rad: float = float(np.pi)
    shift: float = 1.0
    line: Line = Line(azimuth_rad=-0.5, offset=0.15, roughness_angstrom=1.0)
