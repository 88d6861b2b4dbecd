"""The simulated microscope as scripts see a microscope: `realtime.autonomy.microscope.Microscope`."""

from __future__ import annotations

import msgspec
import numpy as np
from nion.utils import Geometry

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from sim.generator import dose_e_per_angstrom2
from sim.headless import HeadlessMicroscope
from sim.instrument import CHANNELS
from sim.scan_device import scan_area
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity

__all__ = ["ScriptedMicroscope"]


class ScriptedMicroscope:
    """Scans frames of the HAADF channel for a script.

    Parameters
    ----------
    microscope
        An open one.
    """

    def __init__(self, microscope: HeadlessMicroscope) -> None:
        self._microscope = microscope

    def context(self) -> ImagingContext:
        """Conditions as the controls stand."""
        stem, settings = self._microscope.stem_controller, self._microscope.settings
        channel = CHANNELS[0]
        optics = stem.optics(channel)

        def told(value: float, control: str) -> Known:
            return Known(value, Source.INSTRUMENT, f"control {control}")

        return ImagingContext(
            host=settings.host,
            dopants=(settings.dopant,) if settings.dopant else (),
            high_tension_kv=told(optics.high_tension_kv, "EHT"),
            convergence_semi_angle_mrad=told(optics.convergence_semi_angle_mrad, "ConvergenceAngle"),
            inner_mrad=told(optics.inner_mrad, f"{channel}_InnerAngle"),
            outer_mrad=told(optics.outer_mrad, f"{channel}_OuterAngle"),
            pixel_size_angstrom=Missing("nothing is being scanned"),
            dose_e_per_angstrom2=Missing("nothing is being scanned"),
            channel=channel,
        )

    def scan(self, request: ScanRequest) -> ScannedFrame:
        """Scan one whole frame; the beam is let through first.

        Raises
        ------
        LibraryError
            Where the conditions cannot be simulated.
        """
        stem = self._microscope.stem_controller
        stem.value_manager.is_blanked = False
        context = self.context()
        xdata = self._microscope.record(
            center_nm=Geometry.FloatPoint(*request.centre_nm),
            fov_nm=request.field_of_view_nm,
            pixel_size=Geometry.IntSize(*request.shape),
            pixel_time_us=request.dwell_s * 1e6,
            rotation_rad=request.rotation_rad,
            enabled_channel_indexes=[0],
        )[0]
        pixel_angstrom = 10 * float(xdata.dimensional_calibrations[1].scale)
        dose = dose_e_per_angstrom2(stem.GetVal("BeamCurrent"), request.dwell_s * 1e6, pixel_angstrom)
        context = msgspec.structs.replace(
            context,
            pixel_size_angstrom=Known(pixel_angstrom, Source.FRAME, "dimensional calibrations"),
            dose_e_per_angstrom2=Known(dose, Source.INSTRUMENT, "control BeamCurrent times dwell time"),
        )
        scan, detector = xdata.metadata["scan"], xdata.metadata["hardware_source"]
        height, width = xdata.data_shape
        identity = FrameIdentity(scan["scan_id"], int(detector["frame_index"] or 0), height, (height, width))
        return ScannedFrame(np.array(xdata.data), context, identity)

    def park(self, position_nm: tuple[float, float]) -> None:
        """Rest the probe at y, x of the scan's coordinates.

        Raises
        ------
        InputError
            Where the point lies outside the field that is scanned now.
        """
        area = scan_area(self._microscope.frame_parameters())
        geometry = area.geometry()
        y, x = (geometry.to_px(np.array([position_nm]))[0] + 0.5) / geometry.shape
        if not (0 <= y <= 1 and 0 <= x <= 1):
            raise InputError(
                f"({position_nm[0]:g}, {position_nm[1]:g}) nm lies outside the field of {area.fov_nm:g} nm around "
                f"({area.centre_nm[0]:g}, {area.centre_nm[1]:g}). Scan there first."
            )
        self._microscope.scan.probe_position = Geometry.FloatPoint(y=float(y), x=float(x))

    def blank(self) -> None:
        """Take the beam off the sample."""
        self._microscope.stem_controller.value_manager.is_blanked = True
