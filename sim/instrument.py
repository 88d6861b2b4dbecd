"""The simulated column: Nion's simulated instrument controls, with our detectors and our specimen in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nion.usim_device import InstrumentDevice
from numpy.typing import NDArray

from sim.generator import FrameGenerator, dose_e_per_angstrom2
from sim.geometry import FrameGeometry, Pair, ScanArea
from sim.specimen import Specimen
from stemctx_core.simulation.render import Optics

INSTRUMENT_ID: Final = "stemctx_simulated_stem"
#: Channel names in the order of the scan device's channels; their angles are the controls `<name>_InnerAngle`, ...
CHANNELS: Final = ("HAADF", "MAADF")


@dataclass(frozen=True)
class MicroscopeSettings:
    """The simulated microscope as it is switched on; afterwards its controls and frame parameters rule.

    Attributes
    ----------
    host, dopant, specimen_seed
        The specimen.
    probe_current_pa, dwell_us, fov_nm, size
        First frame parameters. The defaults give 1.0e5 e/Å² on pixels of 0.195 Å: 51 pA for 12 µs.
    haadf_mrad, maadf_mrad
        Inner and outer collection semi-angle of the two channels.
    sigma_angstrom
        Effective source (Å, standard deviation per axis).
    background_fraction
        As in `FrameGenerator`.
    drift_nm_per_s
        y, x. Time is counted in scanned frames, so that a seed gives the same frames on a slow machine.
    noise_seed
        Of the counting noise.
    """

    host: str = "WSe2"
    dopant: str | None = "V"
    specimen_seed: int = 0
    high_tension_kv: float = 80.0
    convergence_semi_angle_mrad: float = 30.0
    haadf_mrad: tuple[float, float] = (70.0, 200.0)
    maadf_mrad: tuple[float, float] = (50.0, 120.0)
    probe_current_pa: float = 51.0
    dwell_us: float = 12.0
    fov_nm: float = 10.0
    size: tuple[int, int] = (512, 512)
    sigma_angstrom: float = 0.45
    background_fraction: float = 0.02
    drift_nm_per_s: Pair = (0.0012, -0.0016)
    noise_seed: int = 0

    def generator(self) -> FrameGenerator:
        """Make a specimen and what renders it."""
        specimen = Specimen(self.host, self.dopant, self.specimen_seed)
        return FrameGenerator(specimen, background_fraction=self.background_fraction, seed=self.noise_seed)


class SimulatedInstrument(InstrumentDevice.Instrument):  # type: ignore[misc]  # nion is untyped here
    """Nion's simulated instrument, set to our settings and with the angles of its detectors as controls."""

    def __init__(self, settings: MicroscopeSettings) -> None:
        self.generator = settings.generator()
        super().__init__(INSTRUMENT_ID, InstrumentDevice.ValueManager(), InstrumentDevice.AxisManager(), self)
        self.priority = 60
        self.sigma_angstrom = settings.sigma_angstrom
        self.drift_nm_per_s = settings.drift_nm_per_s
        self.SetVal("EHT", settings.high_tension_kv * 1e3)
        self.SetVal("ConvergenceAngle", settings.convergence_semi_angle_mrad * 1e-3)
        self.SetVal("BeamCurrent", settings.probe_current_pa * 1e-12)
        self.SetVal("C10", 0.0)
        for channel, angles in zip(CHANNELS, (settings.haadf_mrad, settings.maadf_mrad), strict=True):
            for edge, mrad in zip(("Inner", "Outer"), angles, strict=True):
                self.add_control(self.create_control(f"{channel}_{edge}Angle", mrad * 1e-3))

    def optics(self, channel: str) -> Optics:
        """Conditions under which a channel's detector sees, as the controls stand."""
        return Optics(
            high_tension_kv=self.GetVal("EHT") / 1e3,
            convergence_semi_angle_mrad=_mrad(self.GetVal("ConvergenceAngle")),
            inner_mrad=_mrad(self.GetVal(f"{channel}_InnerAngle")),
            outer_mrad=_mrad(self.GetVal(f"{channel}_OuterAngle")),
            sigma_angstrom=self.sigma_angstrom,
        )

    @property
    def specimen_offset_nm(self) -> Pair:
        """Stage less beam shift (nm; y, x): how far the specimen is moved under the scan, drift left out."""
        offset = self.value_manager.actual_offset_m
        return offset.y * 1e9, offset.x * 1e9

    def generate_scan_data(self, instrument: Any, scan_frame_parameters: Any) -> NDArray[np.float32]:
        """Count a HAADF frame, for what asks Nion's simulated instrument instead of our scan device."""
        p = scan_frame_parameters
        height, width = p.size
        area = ScanArea((height, width), p.fov_nm, (p.center_nm.y, p.center_nm.x), p.rotation_rad)
        return self.counts(CHANNELS[0], area.geometry(self.specimen_offset_nm), p.pixel_time_us)

    def counts(
        self, channel: str, geometry: FrameGeometry, pixel_time_us: float, frame_number: int = 0
    ) -> NDArray[np.float32]:
        """Electrons that a channel counts in each pixel of a frame, as the controls stand.

        Raises
        ------
        LibraryError
            Where the response library has nothing for the energy or the angles.
        """
        dose = dose_e_per_angstrom2(self.GetVal("BeamCurrent"), pixel_time_us, 10 * geometry.pixel_size_nm)
        if self.value_manager.is_blanked:
            dose = 0.0
        optics, index = self.optics(channel), CHANNELS.index(channel)
        return self.generator.counts(geometry, optics, dose, frame_number, index)


def _mrad(radians: float) -> float:
    """Milliradians without the last digits that a product of floats leaves."""
    return round(radians * 1e3, 6)
