"""Frames of one rendered specimen, with every vacant site known."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.dataset.crystal import Crystal, CrystalRecipe, grow_crystal
from stemctx_core.results import FrameIdentity
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

PIXEL_ANGSTROM: Final = 0.2
DOSE_E_PER_ANGSTROM2: Final = 1e5
HOST: Final = "WSe2"
DOPANT: Final = "V"
_OPTICS: Final = Optics(80.0, 30.0, 70.0, 200.0, 0.45)
#: More dopants and vacancies than usual, so that a small field holds some of each.
_PREVALENCE: Final = {
    Role.DOPANT: 0.02,
    Role.METAL_VACANCY: 0.005,
    Role.CHALCOGEN_VACANCY: 0.03,
    Role.CHALCOGEN_DIVACANCY: 0.005,
}
#: Sites where no atom is left.
_VACANT: Final = frozenset({Role.METAL_VACANCY, Role.CHALCOGEN_DIVACANCY})
_BACKGROUND: Final = 0.02
#: How far the specimen drifts from frame to frame (px; y, x).
_DRIFT_PX: Final = (0.31, -0.22)


class RenderedField:
    """One field of doped WSe2 that is scanned again and again, and drifts a little.

    Parameters
    ----------
    side_px
        Pixels along each side.
    seed
        Of the specimen and of the counting noise.
    """

    def __init__(self, side_px: int, seed: int) -> None:
        self.side_px, self.seed = side_px, seed

    @cached_property
    def crystal(self) -> Crystal:
        """What stands where."""
        extent = (self.side_px * PIXEL_ANGSTROM,) * 2
        recipe = CrystalRecipe(prevalence=_PREVALENCE)
        rng = np.random.default_rng([self.seed, self.side_px])
        return grow_crystal(materials.host(HOST), (DOPANT,), recipe, extent, rng)

    @property
    def context(self) -> ImagingContext:
        """How it is imaged."""

        def told(value: float) -> Known:
            return Known(value, Source.USER, "benchmark")

        return ImagingContext(
            host=HOST,
            dopants=(DOPANT,),
            high_tension_kv=told(_OPTICS.high_tension_kv),
            convergence_semi_angle_mrad=told(_OPTICS.convergence_semi_angle_mrad),
            inner_mrad=told(_OPTICS.inner_mrad),
            outer_mrad=told(_OPTICS.outer_mrad),
            pixel_size_angstrom=told(PIXEL_ANGSTROM),
        )

    @property
    def scene(self) -> Scene:
        """What an analysis would have to find out."""
        return Scene(
            host=materials.host(HOST),
            candidates=self.crystal.candidates,
            optics=_OPTICS,
            dose_e_per_angstrom2=DOSE_E_PER_ANGSTROM2,
            background=_BACKGROUND,
            ratio=1.0,
            nuisance=Nuisance(),
        )

    def frame(self, number: int) -> NDArray[np.float32]:
        """(side, side) electrons counted in each pixel; every number has noise of its own."""
        crystal = self.crystal
        tables = response_tables(shipped_library(), [c.column for c in crystal.candidates], _OPTICS)
        image = render_columns(
            (self.side_px, self.side_px),
            PIXEL_ANGSTROM,
            crystal.positions_angstrom / PIXEL_ANGSTROM + self._drift_px(number),
            crystal.column_index,
            tables,
        )
        image += np.float32(_BACKGROUND * tables[:, 0].max())
        rng = np.random.default_rng([self.seed, self.side_px, number])
        return count_electrons(image, DOSE_E_PER_ANGSTROM2, PIXEL_ANGSTROM, rng)

    def identity(self, number: int) -> FrameIdentity:
        """Which frame it is."""
        return FrameIdentity(f"benchmark {number}", number, self.side_px, (self.side_px, self.side_px))

    def vacant_px(self, number: int, margin_angstrom: float = 1.0) -> NDArray[np.float64]:
        """(n, 2) y, x of the sites of a frame without an atom, some way inside its border."""
        roles = np.array([c.role in _VACANT for c in self.crystal.candidates])
        places = self.crystal.lattice_angstrom[roles[self.crystal.column_index]] / PIXEL_ANGSTROM
        places = places + self._drift_px(number)
        margin = margin_angstrom / PIXEL_ANGSTROM
        inside = ((places >= margin) & (places <= self.side_px - 1 - margin)).all(axis=1)
        found: NDArray[np.float64] = places[inside]
        return found

    @staticmethod
    def _drift_px(number: int) -> NDArray[np.float64]:
        return number * np.array(_DRIFT_PX)
