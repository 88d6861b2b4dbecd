"""A crystal under the beam: the specimen, what the beam has done to it, and how imperfectly it is imaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.exposure import BeamHistory
from sim.generator import FrameGenerator, GroundTruth, check_width, truth_of
from sim.geometry import FrameGeometry
from stemctx_core.errors import InputError
from stemctx_core.simulation.imaging import AmorphousCarbon, Contamination, Drift, ImagingChain, Scan
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import REACH_ANGSTROM, count_electrons, render_columns

#: How imperfectly can be chosen; the names are those of `ImagingChain`.
IMPERFECTIONS: Final = ("pristine", "typical", "difficult")
#: The instrument has these of its own: they last from frame to frame, and those of a chain do not.
_OWN: Final = (Drift, Contamination, AmorphousCarbon)
#: Rows that are rendered at a time: the first ones are there long before the last, and no other thread of Python
#: waits longer than for one block, since the compiled loop holds the interpreter's lock.
_BLOCK: Final = 16
#: How far (nm) beside a frame columns still reach into it.
_MARGIN_NM: Final = REACH_ANGSTROM / 10


def imaging_chain(name: str) -> ImagingChain:
    """Imperfections by name, less those that the simulated instrument has itself.

    Raises
    ------
    InputError
        For a name that is not one of `IMPERFECTIONS`.
    """
    if name not in IMPERFECTIONS:
        raise InputError(f"There are no imperfections '{name}'. Choose {', '.join(IMPERFECTIONS)}.")
    chain: ImagingChain = getattr(ImagingChain, name)()
    return ImagingChain(tuple(step for step in chain.steps if not isinstance(step, _OWN)))


@dataclass(frozen=True)
class Crystal:
    """What frames of a crystal are rendered from; the same objects give the same frames.

    Attributes
    ----------
    generator
        Specimen, column responses and seed of the noise.
    history
        What the beam has done when the frame begins.
    imperfections
        One of `IMPERFECTIONS`.
    """

    generator: FrameGenerator
    history: BeamHistory
    imperfections: str = IMPERFECTIONS[0]

    def truth(self, geometry: FrameGeometry, frame_number: int) -> GroundTruth:
        """Every site of a frame, where it appears and what stood there when the frame began."""
        chain, scan = imaging_chain(self.imperfections), self._scan(geometry, frame_number)
        margin = chain.reach_px(scan) * geometry.pixel_size_nm
        sites = self.generator.specimen.columns_in(*geometry.bounds_nm(margin))
        sites = self.history.present(sites, frame_number)
        return truth_of(sites, chain.displaced(geometry.to_px(sites.positions_nm), scan), geometry)

    def blocks(
        self,
        geometry: FrameGeometry,
        frame_number: int,
        channels: Sequence[tuple[int, Optics]],
        dose_e_per_angstrom2: float,
    ) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """First row and counts of each channel, block by block from the top.

        A frame with imperfections is one block, because some of them act on a frame as a whole. The blocks of a
        pristine frame are those of `FrameGenerator.counts`, with the same noise.

        Parameters
        ----------
        channels
            Number and optics of each.

        Raises
        ------
        LibraryError
            Where the response library has nothing for the optics, or the field is too wide.
        """
        check_width(geometry)
        chain = imaging_chain(self.imperfections)
        tables = [self.generator.responses(optics) for _, optics in channels]
        peaks = [self.generator.host_peak(optics) for _, optics in channels]
        scan = self._scan(geometry, frame_number, dose_e_per_angstrom2, peaks)
        pixel_nm, (height, width) = geometry.pixel_size_nm, geometry.shape
        margin = _MARGIN_NM + chain.reach_px(scan) * pixel_nm
        fresh = self.generator.specimen.columns_in(*geometry.bounds_nm(margin))
        sites = self.history.present(fresh, frame_number)
        # A vacant site scatters nothing.
        sites = sites.chosen(np.flatnonzero(np.any(tables[0], axis=1)[sites.column_index]))
        places = chain.displaced(geometry.to_px(sites.positions_nm), scan)
        film = self._film(geometry, scan)

        def fractions(channel: int, first: int, end: int) -> NDArray[np.float32]:
            part = render_columns(
                (end - first, width), 10 * pixel_nm, places - (first, 0.0), sites.column_index, tables[channel]
            )
            part += np.float32(self.generator.background_fraction * peaks[channel])
            if film is not None:
                part += film[first:end] * np.float32(peaks[channel])
            return part

        if chain.steps:
            whole = np.empty((len(channels), height, width), np.float32)
            for first in range(0, height, _BLOCK):
                end = min(height, first + _BLOCK)
                for c in range(len(channels)):
                    whole[c, first:end] = fractions(c, first, end)
            if dose_e_per_angstrom2 > 0:
                whole = chain.detected(chain.intensities(whole, scan), scan).astype(np.float32)
            else:
                whole = np.zeros_like(whole)
            yield 0, list(whole)
            return
        noise = [
            np.random.default_rng([self.generator.seed & 0xFFFFFFFF, frame_number, number])
            for number, _ in channels
        ]
        for first in range(0, height, _BLOCK):
            end = min(height, first + _BLOCK)
            yield (
                first,
                [
                    count_electrons(fractions(c, first, end), dose_e_per_angstrom2, 10 * pixel_nm, noise[c])
                    for c in range(len(channels))
                ],
            )

    def _film(self, geometry: FrameGeometry, scan: Scan) -> NDArray[np.float32] | None:
        """(height, width) carbon in units of the host's brighter column; its grains move under the beam."""
        carbon = self.history.carbon(geometry)
        if carbon is None:
            return None
        one = Scan(scan.shape, scan.pixel_size_angstrom, (1.0,), scan.dose_e_per_angstrom2, scan.seed, carbon)
        film: NDArray[np.float32] = AmorphousCarbon(level=1.0).apply(
            np.zeros((1, *scan.shape), np.float32), one
        )[0]
        return film

    def _scan(
        self,
        geometry: FrameGeometry,
        frame_number: int,
        dose_e_per_angstrom2: float = 1.0,
        peaks: Sequence[float] = (1.0,),
    ) -> Scan:
        seed = (self.generator.seed & 0xFFFFFFFF) * 2**32 + frame_number
        return Scan(geometry.shape, 10 * geometry.pixel_size_nm, tuple(peaks), dose_e_per_angstrom2, seed)
