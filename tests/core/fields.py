"""One field of doped WSe2 that is scanned several times, drifts, and may change at chosen sites."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.dataset.crystal import Crystal, CrystalRecipe, grow_crystal
from stemctx_core.results import Decision, FrameIdentity, FrameResult
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

OPTICS = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
PIXEL_ANGSTROM = 0.2


def context_of(dopants: tuple[str, ...] = ("V",)) -> ImagingContext:
    def told(value: float) -> Known:
        return Known(value, Source.USER, "test")

    return ImagingContext(
        host="WSe2",
        dopants=dopants,
        high_tension_kv=told(OPTICS.high_tension_kv),
        convergence_semi_angle_mrad=told(OPTICS.convergence_semi_angle_mrad),
        inner_mrad=told(OPTICS.inner_mrad),
        outer_mrad=told(OPTICS.outer_mrad),
        pixel_size_angstrom=told(PIXEL_ANGSTROM),
    )


@dataclass
class Field:
    """Its columns may be changed between frames: `columns` is the row of the crystal's candidates at each site."""

    side_px: int = 320
    dose_e_per_angstrom2: float = 1e4
    seed: int = 0
    drift_px: tuple[float, float] = (0.3, -0.2)
    crystal: Crystal = field(init=False)
    columns: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        recipe = CrystalRecipe(prevalence={Role.DOPANT: 0.03, Role.CHALCOGEN_VACANCY: 0.04})
        extent = (self.side_px * PIXEL_ANGSTROM,) * 2
        self.crystal = grow_crystal(materials.host("WSe2"), ("V",), recipe, extent, rng)
        self.columns = self.crystal.column_index.copy()

    def row(self, role: Role) -> int:
        return next(k for k, c in enumerate(self.crystal.candidates) if c.role is role)

    def frame(self, number: int, dose_e_per_angstrom2: float | None = None) -> NDArray[np.float32]:
        tables = response_tables(shipped_library(), [c.column for c in self.crystal.candidates], OPTICS)
        places = self.crystal.positions_angstrom / PIXEL_ANGSTROM + number * np.array(self.drift_px)
        image = render_columns((self.side_px, self.side_px), PIXEL_ANGSTROM, places, self.columns, tables)
        image += np.float32(0.02 * tables[:, 0].max())
        rng = np.random.default_rng([self.seed, number])
        return count_electrons(image, dose_e_per_angstrom2 or self.dose_e_per_angstrom2, PIXEL_ANGSTROM, rng)

    def identity(self, number: int, rows: int | None = None) -> FrameIdentity:
        return FrameIdentity(f"scan {number}", number, rows or self.side_px, (self.side_px, self.side_px))

    def places_px(self, number: int) -> NDArray[np.float64]:
        return self.crystal.lattice_angstrom / PIXEL_ANGSTROM + number * np.array(self.drift_px)

    def inside(self, number: int, margin_px: float = 25.0) -> NDArray[np.intp]:
        """Sites whose patches are whole in a frame."""
        places = self.places_px(number)
        return np.flatnonzero(((places > margin_px) & (places < self.side_px - margin_px)).all(axis=1))

    def at(self, result: FrameResult, number: int, sites: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows of a result at some sites of the field."""
        found = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
        distance, row = cKDTree(found).query(self.places_px(number)[sites])
        assert (distance < 2.5).all()
        return row

    def surprise(self, result: FrameResult, number: int) -> float:
        """Mean negative logarithm of what the truth was given, over the defects."""
        sites = self.inside(number)
        host = {self.row(Role.METAL), self.row(Role.CHALCOGEN_PAIR)}
        defects = sites[[c not in host for c in self.columns[sites]]]
        given = result.sites.posterior[self.at(result, number, defects), self.columns[defects]]
        return float(-np.mean(np.log(np.maximum(given, 1e-6))))

    def recall(self, result: FrameResult, number: int) -> float:
        """Share of the defects that are flagged as what they are."""
        sites = self.inside(number)
        host = {self.row(Role.METAL), self.row(Role.CHALCOGEN_PAIR)}
        defects = sites[[c not in host for c in self.columns[sites]]]
        rows = self.at(result, number, defects)
        flagged = np.isin(rows, result.where(Decision.FLAG))
        return float(np.mean(flagged & (result.sites.best[rows] == self.columns[defects])))
