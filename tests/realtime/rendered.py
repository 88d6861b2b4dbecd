"""A microscope that renders, with a clock of its own: what another vendor's would look like, without Nion and quick."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from realtime.autonomy.limits import Stopped
from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from sim.generator import FrameGenerator, GroundTruth
from sim.geometry import FrameGeometry, ScanArea
from sim.specimen import ColumnField, Specimen
from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.dose import dose_e_per_angstrom2
from stemctx_core.results import FrameIdentity
from stemctx_core.simulation.optics import Optics
from tests.sim.truth import ground_truth

HAADF = (70.0, 200.0)
#: What passes between two scans.
BETWEEN_NS = 200_000_000


class ChangingSpecimen(Specimen):
    """A specimen in which chosen sites become vacancies when they are told to."""

    vacant: tuple[tuple[int, int], ...] = ()

    def columns_in(self, y0_nm: float, x0_nm: float, y1_nm: float, x1_nm: float) -> ColumnField:
        field = super().columns_in(y0_nm, x0_nm, y1_nm, x1_nm)
        row = next(k for k, c in enumerate(self.candidates) if c.role is Role.CHALCOGEN_VACANCY)
        column = field.column_index.copy()
        for cell in self.vacant:
            column[(field.lattice_index == cell).all(axis=1) & (field.sublattice == 1)] = row
        return ColumnField(field.positions_nm, column, field.sublattice, field.lattice_index, field.candidates)


class RenderedMicroscope:
    """Implements `realtime.autonomy.microscope.Microscope`.

    Parameters
    ----------
    drift_nm_per_s
        y, x; of the microscope's own clock, which runs while it scans and a little in between.
    jumps
        Frame number to how far the specimen jumps before it (nm).
    """

    def __init__(
        self,
        specimen: Specimen,
        drift_nm_per_s: Pair = (0.0, 0.0),
        current_pa: float = 1000.0,
        jumps: dict[int, Pair] | None = None,
    ) -> None:
        self.specimen, self.drift, self.current_pa = specimen, np.array(drift_nm_per_s), current_pa
        self.jumps = jumps or {}
        self.now_ns = 1_000_000_000
        self.blanked = True
        self.scans: list[ScanRequest] = []
        self.geometries: dict[str, FrameGeometry] = {}
        self._generator = FrameGenerator(specimen, seed=specimen.seed)
        self._offset = np.zeros(2)
        self._aborted = False

    channels = ("HAADF",)
    field_limit_nm = 200.0

    def clock(self) -> int:
        return self.now_ns

    def context(self, channel: str = "") -> ImagingContext:
        def told(value: float) -> Known:
            return Known(value, Source.INSTRUMENT, "rendered")

        dopants = (self.specimen.dopant,) if self.specimen.dopant else ()
        return ImagingContext(self.specimen.host.name, dopants, *map(told, (80.0, 30.0, *HAADF)))

    def dose_e_per_angstrom2(self, request: ScanRequest) -> float:
        return dose_e_per_angstrom2(self.current_pa * 1e-12, request.dwell_s * 1e6, 10 * request.pixel_nm)

    def scan(self, request: ScanRequest) -> ScannedFrame:
        if self._aborted:
            raise Stopped("aborted")
        number = len(self.scans)
        self.scans.append(request)
        self._offset += self.jumps.get(number, (0.0, 0.0))
        self.now_ns += BETWEEN_NS
        started = self.now_ns
        self.now_ns += int(request.seconds * 1e9)
        offset = self._offset + self.drift * started * 1e-9
        per_row = self.drift * request.seconds / request.shape[0]
        area = ScanArea(request.shape, request.field_of_view_nm, request.centre_nm, request.rotation_rad)
        geometry = area.geometry((offset[0], offset[1]), (per_row[0], per_row[1]))
        optics = Optics(80.0, 30.0, *HAADF, 0.45)
        image = self._generator.counts(geometry, optics, self.dose_e_per_angstrom2(request), number)
        self.geometries[f"scan {number}"] = geometry
        frame = FrameIdentity(f"scan {number}", number, request.shape[0], request.shape)
        return ScannedFrame({"HAADF": image}, {"HAADF": self.context()}, frame, request, started, self.now_ns)

    def truth(self, frame: ScannedFrame) -> GroundTruth:
        return ground_truth(self.specimen, self.geometries[frame.frame.scan_id])

    def shift(self, dy_nm: float, dx_nm: float) -> None:
        self._offset -= (dy_nm, dx_nm)

    def park(self, position_nm: Pair) -> None:
        pass

    def blank(self) -> None:
        self.blanked = True

    def unblank(self) -> None:
        self.blanked = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        self._aborted = False
        yield
        self.blanked = True

    def abort(self) -> None:
        self._aborted = True
