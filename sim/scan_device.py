"""The simulated scan: a scan device of our own, built from `nion.device_kit`.

The device kit times the scan, hands out partial frames and stops and starts; we answer what each channel counts.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec
import numpy as np
from nion.device_kit import ScanDevice
from nion.instrumentation import scan_base
from nion.usim_device import ScanDevice as UsimScanDevice
from numpy.typing import NDArray

from sim.ahead import FrameJob, Picture, RenderAhead
from sim.crystal import Crystal
from sim.generator import WIDEST_FIELD_NM
from sim.geometry import Pair, ScanArea
from sim.instrument import CHANNELS, MicroscopeSettings, SimulatedInstrument
from sim.replay import Replay
from sim.shot import PROPERTY, Shot
from stemctx_core.errors import StemctxError

_log = logging.getLogger(__name__)

SCAN_DEVICE_ID: Final = "stemctx_simulated_scan"
#: As panels and data items call it.
NAME: Final = "Simulated scan"


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

    A frame that cannot be rendered is dark, its metadata say why, and the scan goes on. Frames are rendered by a
    thread of their own, the next one ahead while this one is scanned; rows are handed out when the beam has passed
    them and they are there.
    """

    #: Beside another scan device, Nion's other instruments keep to that one.
    scan_device_is_secondary = True

    def __init__(self, instrument: SimulatedInstrument) -> None:
        self._box = _ScanBox(instrument)
        self._column = instrument
        self._shot = Shot(0)
        self._drift_nm = np.zeros(2)
        self._frame_time_s = 0.0
        self._told = ""
        self._cancelled = False
        self._continuous = False
        self._rows_scanned = 0
        self._renderer = RenderAhead()
        self._picture: Picture | None = None
        super().__init__(SCAN_DEVICE_ID, NAME, instrument, self._box)

    def close(self) -> None:
        """End the thread that renders; safe to call twice."""
        self._renderer.close()
        super().close()

    @property
    def channel_count(self) -> int:
        """Two."""
        return len(CHANNELS)

    @property
    def channels_enabled(self) -> tuple[bool, ...]:
        """Which channels are read."""
        return tuple(super().channels_enabled[: len(CHANNELS)])

    def get_scan_data(self, frame_parameters: Any, channel: Any) -> NDArray[np.float32]:
        """One channel of the frame that has begun; its rows fill while it is scanned."""
        area = scan_area(frame_parameters)
        if self._shot.frame_number != self._box.frame_number:
            self._begin(area, float(frame_parameters.pixel_time_us))
        if self._picture is None:
            return np.zeros(area.subscan_shape or area.context_shape, np.float32)
        return self._picture.pixels(_index(channel))

    def read_partial(self, frame_number: int | None, pixels_to_skip: int) -> Any:
        """As the device kit reads, with what the frame was rendered with among its properties."""
        elements, complete, bad, area, number, skip = super().read_partial(frame_number, pixels_to_skip)
        if complete and self._cancelled:
            # The device kit calls a frame complete that was cancelled; its last rows are another frame's.
            complete, skip = False, pixels_to_skip
            (width,) = {element["data"].shape[1] for element in elements}
            area = ((skip // width, 0), (0, width))
        else:
            (top, _), (rows, _) = area
            self._rows_scanned = top + rows
            self._hand_out(elements, top, top + rows)
        shot = msgspec.to_builtins(self._shot)
        for element in elements:
            element["properties"][PROPERTY] = shot
        return elements, complete, bad, area, number, skip

    def start_frame(self, is_continuous: bool) -> int:
        """Begin a frame, or the first of many; what was cancelled before is over."""
        self._cancelled = False
        self._continuous = is_continuous
        return int(super().start_frame(is_continuous))

    def cancel(self) -> None:
        """Stop at once, from any thread."""
        self._cancelled = True
        super().cancel()

    def calculate_max_field_of_view(self, frame_parameters: Any) -> float:
        """Widest field that the specimen is shown in (nm)."""
        return WIDEST_FIELD_NM

    def _hand_out(self, elements: Any, first: int, end: int) -> None:
        """Put rows into what is handed out, once they are rendered."""
        picture = self._picture
        if picture is None or end <= first:
            return
        picture.wait(end)
        for element in elements:
            element["data"][first:end] = picture.pixels(_index(element["properties"]["channel_id"]))[first:end]
        if picture.error:
            self._fail(picture.error)
        elif end == picture.job.geometry.shape[0]:
            self._told = ""

    def _begin(self, area: ScanArea, pixel_time_us: float) -> None:
        """A frame begins: the beam has done what it did in the one before, and the specimen drifted meanwhile."""
        sample, before = self._column.sample, self._picture
        if before is not None:
            job = before.job
            sample.expose(job.sample, sample.exposure(job.frame_number, job.geometry, self._rows_scanned, job.dose_e_per_angstrom2))  # fmt: skip
        rate = np.array(self._column.drift_nm_per_s)
        # What was cut short took less time.
        scanned = 1.0 if before is None else self._rows_scanned / before.job.geometry.shape[0]
        self._drift_nm = self._drift_nm + rate * (self._frame_time_s * scanned)
        height, width = area.subscan_shape or area.context_shape
        self._frame_time_s = height * width * pixel_time_us * 1e-6
        self._rows_scanned = 0
        number = self._box.frame_number
        sample_number, scanned_now = sample.now()
        if isinstance(scanned_now, Replay):
            self._shot = Shot(number, sample_number=sample_number, replayed=scanned_now.path.name)
        else:
            self._shot = Shot(number, sample_number=sample_number, imperfections=scanned_now.imperfections)
        channels = tuple(n for n, enabled in enumerate(self.channels_enabled) if enabled)
        try:
            job = self._job(area, pixel_time_us, number, self._drift_nm, scanned_now, channels)
        except StemctxError as error:
            self._picture = None
            self._fail(str(error))
            return
        self._shot = msgspec.structs.replace(self._shot, geometry=job.geometry)

        def foretell() -> FrameJob:
            done = sample.exposure(number, job.geometry, height, job.dose_e_per_angstrom2)
            drift = self._drift_nm + np.array(self._column.drift_nm_per_s) * self._frame_time_s
            return self._job(area, pixel_time_us, number + 1, drift, sample.now(done)[1], channels)

        self._picture = self._renderer.begin(job, foretell if self._continuous else None)

    def _job(
        self,
        area: ScanArea,
        pixel_time_us: float,
        number: int,
        drift_nm: NDArray[np.float64],
        sample: Crystal | Replay,
        channels: tuple[int, ...],
    ) -> FrameJob:
        """What a frame is rendered from, as the controls stand."""
        width = (area.subscan_shape or area.context_shape)[1]
        per_row = np.array(self._column.drift_nm_per_s) * (width * pixel_time_us * 1e-6)
        offset = np.array(self._column.specimen_offset_nm) + drift_nm
        geometry = area.geometry(_pair(offset), _pair(per_row))
        dose = self._column.dose(geometry, pixel_time_us)
        optics = tuple((n, self._column.optics(CHANNELS[n])) for n in channels)
        return FrameJob(number, geometry, optics, dose, sample)

    def _fail(self, message: str) -> None:
        self._shot = msgspec.structs.replace(self._shot, error=message)
        if message != self._told:  # once, not once a frame
            _log.error("The simulated frame is dark: %s", message)
        self._told = message


class SimulatedScanModule:
    """What Nion's acquisition makes a scan hardware source from."""

    panel_type = None
    panel_delegate_type = None
    data_channel_delegate = None
    #: Nion gives scan devices 100 by default: ours is the one that is offered first.
    priority = 110
    #: Set by Nion once it has made a scan hardware source of this.
    hardware_source: Any = None

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


def _index(channel: Any) -> int:
    """Number of a channel, which the device kit gives as a number or as an object."""
    return channel if isinstance(channel, int) else int(channel.channel_id)


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
