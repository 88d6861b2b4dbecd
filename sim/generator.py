"""A specimen seen by an annular detector: electrons counted in every pixel of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.geometry import FrameGeometry
from sim.specimen import ColumnField, Specimen
from stemctx_core.chemistry.classes import HOST_ROLES
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import REACH_ANGSTROM, count_electrons, render_columns, response_tables

#: A larger field holds too many columns to add them up while the scan waits.
WIDEST_FIELD_NM: Final = 200.0


@dataclass(frozen=True)
class GroundTruth:
    """Every site of one frame, vacant ones too.

    Attributes
    ----------
    positions_px
        (n, 2) float64 y, x array-index coordinates.
    sites
        What stands there, n rows.
    shape
        Height and width of the frame.
    pixel_size_angstrom
        Of the frame.
    """

    positions_px: NDArray[np.float64]
    sites: ColumnField
    shape: tuple[int, int]
    pixel_size_angstrom: float

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def species(self) -> NDArray[np.str_]:
        """(n,) species of each site."""
        return self.sites.species

    @property
    def role(self) -> NDArray[np.str_]:
        """(n,) role of each site."""
        return self.sites.role

    @property
    def is_defect(self) -> NDArray[np.bool_]:
        """(n,) whether anything but the host's own column stands there."""
        return self.sites.is_defect


def truth_of(sites: ColumnField, positions_px: NDArray[np.float64], geometry: FrameGeometry) -> GroundTruth:
    """Those sites that appear within a frame, at the places (n, 2) where they appear."""
    edge = np.array(geometry.shape) - 0.5
    inside = np.flatnonzero(np.all((positions_px >= -0.5) & (positions_px < edge), axis=1))
    return GroundTruth(positions_px[inside], sites.chosen(inside), geometry.shape, 10 * geometry.pixel_size_nm)


def check_width(geometry: FrameGeometry) -> None:
    """Raise `LibraryError` for a field that holds too many columns."""
    widest = geometry.pixel_size_nm * max(geometry.shape)
    if widest > WIDEST_FIELD_NM:
        raise LibraryError(
            f"The simulated specimen is shown column by column, up to a field of {WIDEST_FIELD_NM:g} nm; "
            f"{widest:g} nm were asked for. Zoom in."
        )


class FrameGenerator:
    """Renders frames of one specimen.

    Parameters
    ----------
    specimen
        What is scanned.
    library
        Column responses; the shipped ones by default.
    background_fraction
        Signal without any column, as a fraction of the brighter host column's peak.
    seed
        Of the counting noise, which is new in every frame and channel.
    """

    def __init__(
        self,
        specimen: Specimen,
        library: ResponseLibrary | None = None,
        background_fraction: float = 0.02,
        seed: int = 0,
    ) -> None:
        self.specimen = specimen
        self.library = library or shipped_library()
        self.background_fraction = background_fraction
        self.seed = seed
        self._tables: dict[Optics, NDArray[np.float32]] = {}

    def fractions(self, geometry: FrameGeometry, optics: Optics) -> NDArray[np.float32]:
        """Noiseless frame, as fractions of the beam.

        Raises
        ------
        LibraryError
            Where the response library has nothing for these optics, or the field is too wide to be added up.
        """
        tables = self.responses(optics)
        check_width(geometry)
        field = self.specimen.columns_in(*geometry.bounds_nm(REACH_ANGSTROM / 10))
        # A vacant site scatters nothing.
        scatters = np.flatnonzero(np.any(tables, axis=1)[field.column_index])
        seen = field.chosen(scatters)
        frame = render_columns(
            geometry.shape,
            10 * geometry.pixel_size_nm,
            geometry.to_px(seen.positions_nm),
            seen.column_index,
            tables,
        )
        frame += np.float32(self.background_fraction * self.host_peak(optics))
        return frame

    def host_peak(self, optics: Optics) -> float:
        """Peak of the brighter host column, as a fraction of the beam."""
        host = [k for k, c in enumerate(self.specimen.candidates) if c.role in HOST_ROLES]
        return float(self.responses(optics)[host, 0].max())

    def counts(
        self,
        geometry: FrameGeometry,
        optics: Optics,
        dose_e_per_angstrom2: float,
        frame_number: int = 0,
        channel: int = 0,
    ) -> NDArray[np.float32]:
        """Electrons counted in each pixel; the same numbers give the same noise.

        Raises
        ------
        LibraryError
            As `fractions`.
        """
        rng = np.random.default_rng([self.seed & 0xFFFFFFFF, frame_number, channel])
        frame = self.fractions(geometry, optics)
        return count_electrons(frame, dose_e_per_angstrom2, 10 * geometry.pixel_size_nm, rng)

    def responses(self, optics: Optics) -> NDArray[np.float32]:
        """Tables of the specimen's candidates, as `response_tables`; kept for the next frame.

        Raises
        ------
        LibraryError
            Where the response library has nothing for these optics.
        """
        tables = self._tables.get(optics)
        if tables is None:
            tables = response_tables(self.library, [c.column for c in self.specimen.candidates], optics)
            if len(self._tables) > 64:
                self._tables.clear()
            self._tables[optics] = tables
        return tables
