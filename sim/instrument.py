"""The simulated column: Nion's simulated instrument controls, with our detectors and our specimen in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nion.usim_device import InstrumentDevice
from nion.utils import Registry
from numpy.typing import NDArray

from sim.generator import FrameGenerator
from sim.geometry import FrameGeometry, Pair, ScanArea
from sim.sample import SampleHolder
from sim.specimen import Specimen
from stemctx_core.chemistry.classes import Role
from stemctx_core.dose import dose_e_per_angstrom2
from stemctx_core.simulation.optics import Optics

INSTRUMENT_ID: Final = "stemctx_simulated_stem"
#: Channel names in the order of the scan device's channels; their angles are the controls `<name>_Inner_ha`, ...
CHANNELS: Final = ("HAADF", "MAADF")
#: Other names under which a control is known: some instruments use these, some those.
OTHER_NAMES: Final = {
    "probe_ha": "ConvergenceAngle",
    **{f"{channel}_{edge}Angle": f"{channel}_{edge}_ha" for channel in CHANNELS for edge in ("Inner", "Outer")},
}


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
    prevalence
        As in `Specimen`.
    imperfections
        One of `sim.crystal.IMPERFECTIONS`.
    damage_barn, carbon_per_1e6_e_per_angstrom2
        As in `SampleHolder`; a beam that changes nothing by default.
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
    prevalence: Mapping[Role, float] | None = None
    imperfections: str = "pristine"
    damage_barn: float = 0.0
    carbon_per_1e6_e_per_angstrom2: float = 0.0

    def generator(self) -> FrameGenerator:
        """Make a specimen and what renders it."""
        specimen = Specimen(self.host, self.dopant, self.specimen_seed, self.prevalence)
        return FrameGenerator(specimen, background_fraction=self.background_fraction, seed=self.noise_seed)


class _Controls(InstrumentDevice.ValueManager):  # type: ignore[misc]
    """Nion's controls, each under its other names too."""

    def get_value(self, name: str) -> float | None:
        """Value of a control, or None where there is none of this name."""
        value: float | None = super().get_value(OTHER_NAMES.get(name, name))
        return value

    def set_value(self, name: str, value: float) -> bool:
        """Set a control; return whether there is one of this name."""
        return bool(super().set_value(OTHER_NAMES.get(name, name), value))

    def inform_value(self, name: str, value: float) -> bool:
        """Set a control without what depends on it; return whether there is one of this name."""
        return bool(super().inform_value(OTHER_NAMES.get(name, name), value))


class SimulatedInstrument(InstrumentDevice.Instrument):  # type: ignore[misc]  # nion is untyped here
    """Nion's simulated instrument, set to our settings and with the angles of its detectors as controls."""

    def __init__(self, settings: MicroscopeSettings) -> None:
        self.sample = SampleHolder(settings.generator(), settings.imperfections)
        self.sample.damage_barn = settings.damage_barn
        self.sample.carbon_per_1e6_e_per_angstrom2 = settings.carbon_per_1e6_e_per_angstrom2
        super().__init__(INSTRUMENT_ID, _Controls(), InstrumentDevice.AxisManager(), self)
        self.priority = 60
        self.sigma_angstrom = settings.sigma_angstrom
        self.drift_nm_per_s = settings.drift_nm_per_s
        self.SetVal("EHT", settings.high_tension_kv * 1e3)
        self.SetVal("ConvergenceAngle", settings.convergence_semi_angle_mrad * 1e-3)
        self.SetVal("BeamCurrent", settings.probe_current_pa * 1e-12)
        self.SetVal("C10", 0.0)
        for channel, angles in zip(CHANNELS, (settings.haadf_mrad, settings.maadf_mrad), strict=True):
            for edge, mrad in zip(("Inner", "Outer"), angles, strict=True):
                self.add_control(self.create_control(f"{channel}_{edge}_ha", mrad * 1e-3))

    @property
    def generator(self) -> FrameGenerator:
        """Specimen and what renders it."""
        return self.sample.generator

    @property
    def scan_controller(self) -> Any:
        """Our own scan device, whatever others are registered beside it."""
        for source in Registry.get_components_by_type("scan_hardware_source"):
            if source.stem_controller is self:
                return source
        return super().scan_controller

    def optics(self, channel: str) -> Optics:
        """Conditions under which a channel's detector sees, as the controls stand."""
        return Optics(
            high_tension_kv=self.GetVal("EHT") / 1e3,
            convergence_semi_angle_mrad=_mrad(self.GetVal("ConvergenceAngle")),
            inner_mrad=_mrad(self.GetVal(f"{channel}_Inner_ha")),
            outer_mrad=_mrad(self.GetVal(f"{channel}_Outer_ha")),
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
        """Electrons that a channel counts in each pixel of a frame of the fresh crystal, as the controls stand.

        Raises
        ------
        LibraryError
            Where the response library has nothing for the energy or the angles.
        """
        dose = self.dose(geometry, pixel_time_us)
        optics, index = self.optics(channel), CHANNELS.index(channel)
        return self.generator.counts(geometry, optics, dose, frame_number, index)

    def dose(self, geometry: FrameGeometry, pixel_time_us: float) -> float:
        """Electrons per area (e/Å²) that a frame brings, as the controls stand; 0 with the beam blanked."""
        if self.value_manager.is_blanked:
            return 0.0
        return dose_e_per_angstrom2(self.GetVal("BeamCurrent"), pixel_time_us, 10 * geometry.pixel_size_nm)


def _mrad(radians: float) -> float:
    """Milliradians without the last digits that a product of floats leaves."""
    return round(radians * 1e3, 6)
