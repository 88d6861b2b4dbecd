"""The simulated scan: a scan device of our own, built from `nion.device_kit`.

The device kit times the scan, hands out partial frames and stops and starts; we answer what each channel counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from nion.device_kit import ScanDevice
from nion.instrumentation import scan_base
from nion.usim_device import ScanDevice as UsimScanDevice
from numpy.typing import NDArray

from sim.generator import WIDEST_FIELD_NM
from sim.geometry import FrameGeometry, Pair, ScanArea
from sim.instrument import CHANNELS, MicroscopeSettings, SimulatedInstrument
from stemctx_core.errors import InputError, StemctxError

_log = logging.getLogger(__name__)

SCAN_DEVICE_ID: Final = "stemctx_simulated_scan"
#: Where a frame's metadata (`scan`, `scan_device_properties`) keeps what ground truth is computed from.
PROPERTY: Final = "stemctx_simulation"


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one frame was rendered with; it travels in the frame's metadata.

    Attributes
    ----------
    frame_number
        Counts frames since the device was made.
    geometry
        Where the frame lies on the specimen, drift included; None where nothing could be rendered.
    error
        Why the frame is dark, or empty.
    """

    frame_number: int
    geometry: FrameGeometry | None = None
    error: str = ""


def shot(metadata: Mapping[str, Any]) -> Shot:
    """Read what a frame was rendered with; `InputError` where it is not one of the simulated microscope."""
    try:
        return msgspec.convert(metadata["scan"]["scan_device_properties"][PROPERTY], Shot)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise InputError(
            f"This frame is not one of the simulated microscope, so that it has no ground truth ({error!r}). "
            "Score only frames that it scanned."
        ) from None


class _ScanBox(UsimScanDevice.ScanBoxSimulator):  # type: ignore[misc]
    """Nion's scan box, which tells when a frame begins: the one place where the device kit says so."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__(instrument)
        self.frame_number = 0

    def reset_frame(self) -> None:
        """Begin a frame."""
        super().reset_frame()
        self.frame_number += 1


class SimulatedScanDevice(ScanDevice.Device):  # type: ignore[misc]
    """A scan device with a HAADF and a MAADF channel.

    A frame that cannot be rendered is dark, its metadata say why, and the scan goes on.
    """

    def __init__(self, instrument: SimulatedInstrument) -> None:
        self._box = _ScanBox(instrument)
        self._column = instrument
        self._shot = Shot(0)
        self._drift_nm = np.zeros(2)
        self._frame_time_s = 0.0
        self._told = ""
        self._cancelled = False
        super().__init__(SCAN_DEVICE_ID, "Simulated scan", instrument, self._box)

    @property
    def channel_count(self) -> int:
        """Two."""
        return len(CHANNELS)

    @property
    def channels_enabled(self) -> tuple[bool, ...]:
        """Which channels are read."""
        return tuple(super().channels_enabled[: len(CHANNELS)])

    def get_scan_data(self, frame_parameters: Any, channel: Any) -> NDArray[np.float32]:
        """Count electrons in one channel of the frame that has begun."""
        index = channel if isinstance(channel, int) else int(channel.channel_id)
        area = scan_area(frame_parameters)
        if self._shot.frame_number != self._box.frame_number:
            self._begin(area, float(frame_parameters.pixel_time_us))
        shape = area.subscan_shape or area.context_shape
        geometry = self._shot.geometry
        if geometry is None:
            return np.zeros(shape, np.float32)
        try:
            counts = self._column.counts(
                CHANNELS[index], geometry, float(frame_parameters.pixel_time_us), self._shot.frame_number
            )
        except StemctxError as error:
            self._fail(str(error))
            return np.zeros(shape, np.float32)
        self._told = ""
        return counts

    def read_partial(self, frame_number: int | None, pixels_to_skip: int) -> Any:
        """As the device kit reads, with what the frame was rendered with among its properties."""
        elements, complete, bad, area, number, skip = super().read_partial(frame_number, pixels_to_skip)
        if complete and self._cancelled:
            # The device kit calls a frame complete that was cancelled; its last rows are another frame's.
            complete, skip = False, pixels_to_skip
            (width,) = {element["data"].shape[1] for element in elements}
            area = ((skip // width, 0), (0, width))
        shot = msgspec.to_builtins(self._shot)
        for element in elements:
            element["properties"][PROPERTY] = shot
        return elements, complete, bad, area, number, skip

    def start_frame(self, is_continuous: bool) -> int:
        """Begin a frame, or the first of many; what was cancelled before is over."""
        self._cancelled = False
        return int(super().start_frame(is_continuous))

    def cancel(self) -> None:
        """Stop at once, from any thread."""
        self._cancelled = True
        super().cancel()

    def calculate_max_field_of_view(self, frame_parameters: Any) -> float:
        """Widest field that the specimen is shown in (nm)."""
        return WIDEST_FIELD_NM

    def _begin(self, area: ScanArea, pixel_time_us: float) -> None:
        """Where the specimen stands as a frame begins: it drifted for the time of the frame before."""
        rate = np.array(self._column.drift_nm_per_s)
        self._drift_nm += rate * self._frame_time_s
        height, width = area.subscan_shape or area.context_shape
        self._frame_time_s = height * width * pixel_time_us * 1e-6
        per_row = rate * self._frame_time_s / max(height, 1)
        offset = np.array(self._column.specimen_offset_nm) + self._drift_nm
        number = self._box.frame_number
        try:
            geometry = area.geometry(_pair(offset), _pair(per_row))
            self._shot = Shot(number, geometry)
        except StemctxError as error:
            self._shot = Shot(number)
            self._fail(str(error))

    def _fail(self, message: str) -> None:
        self._shot = Shot(self._shot.frame_number, self._shot.geometry, message)
        if message != self._told:  # once, not once a frame
            _log.error("The simulated frame is dark: %s", message)
        self._told = message


class SimulatedScanModule:
    """What Nion's acquisition makes a scan hardware source from."""

    panel_type = None
    panel_delegate_type = None
    data_channel_delegate = None
    priority = 60

    def __init__(self, instrument: SimulatedInstrument, settings: MicroscopeSettings) -> None:
        self.stem_controller_id = instrument.instrument_id
        self.device = SimulatedScanDevice(instrument)
        size, dwell, fov = settings.size, settings.dwell_us, settings.fov_nm
        quick = tuple(max(1, n // 2) for n in size)
        parameters = ScanDevice.ScanFrameParameters
        modes = [
            scan_base.ScanSettingsMode(
                name, name.lower(), parameters(pixel_size=s, pixel_time_us=t, fov_nm=fov)
            )
            for name, s, t in (("Fast", quick, dwell / 2), ("Slow", size, dwell), ("Record", size, dwell))
        ]
        self.settings = scan_base.ScanSettings(SCAN_DEVICE_ID, modes, lambda d: parameters(d), 1, 2)


def scan_area(p: Any) -> ScanArea:
    """Read Nion's frame parameters."""
    return ScanArea(
        context_shape=_ints(p.pixel_size),
        fov_nm=float(p.fov_nm),
        centre_nm=_pair(p.center_nm),
        rotation_rad=float(p.rotation_rad),
        subscan_shape=_ints(p.subscan_pixel_size) if p.subscan_pixel_size else None,
        subscan_fraction=_pair(p.subscan_fractional_size) if p.subscan_fractional_size else None,
        subscan_centre=_pair(p.subscan_fractional_center) if p.subscan_fractional_center else None,
        subscan_rotation_rad=float(p.subscan_rotation or 0.0),
    )


def _ints(values: Any) -> tuple[int, int]:
    first, second = tuple(values)
    return int(first), int(second)


def _pair(values: Any) -> Pair:
    first, second = tuple(values)
    return float(first), float(second)
