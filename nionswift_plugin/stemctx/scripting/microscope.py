"""Nion's microscopes, and simulated ones, as scripts see a microscope: `realtime.autonomy.microscope.Microscope`."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from nion.utils import Geometry, Registry

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.scripting.abort import Abort
from nionswift_plugin.stemctx.scripting.beam import BLANKER, SHIFT, Beam
from nionswift_plugin.stemctx.scripting.one_frame import END_S, abort_recording, record_frame
from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from stemctx_core.context import ImagingContext, Missing
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity


class NionMicroscope:
    """Scans through Nion's acquisition, with the beam on the specimen only while something is acquired.

    Parameters
    ----------
    scan
        Nion's scan hardware source.
    stem_controller
        Nion's STEM controller.
    reader
        Reads the imaging context; it knows host and dopants.
    blanker, shift_control, settle_s
        As `nionswift_plugin.stemctx.scripting.beam.Beam` takes them.
    timeout_s
        How much longer than its own time a frame may take.

    Attributes
    ----------
    metadata
        As the last frame came with them.
    """

    def __init__(
        self,
        scan: Any,
        stem_controller: Any,
        reader: ContextReader,
        *,
        blanker: str = BLANKER,
        shift_control: str = SHIFT,
        settle_s: float = 0.05,
        timeout_s: float = 60.0,
    ) -> None:
        self.metadata: Mapping[str, Any] = {}
        self._scan, self._reader, self._timeout_s = scan, reader, timeout_s
        self._abort = Abort()
        self._beam = Beam(
            scan, stem_controller, self._abort, blanker=blanker, shift_control=shift_control, settle_s=settle_s
        )

    @classmethod
    def simulated(cls, headless: Any, **options: Any) -> Self:
        """Take an open `sim.headless.HeadlessMicroscope`."""
        settings = headless.settings
        dopants = (settings.dopant,) if settings.dopant else ()
        # A control of the simulated instrument may be read for every frame.
        reader = ContextReader(headless.stem_controller, settings.host, dopants, time_to_live_s=0.0)
        return cls(headless.scan, headless.stem_controller, reader, **{"settle_s": 0.0, **options})

    @classmethod
    def running(cls, host: str, dopants: tuple[str, ...] = (), **options: Any) -> Self:
        """Take the microscope that this process has: inside Nion Swift, the one that the user works with.

        Raises
        ------
        InputError
            Where there is none.
        """
        stem = Registry.get_component("stem_controller")
        scan = getattr(stem, "scan_controller", None)
        if stem is None or scan is None:
            raise InputError(
                "This process has no scanning microscope. Run the script inside Nion Swift, or open "
                "sim.headless.HeadlessMicroscope."
            )
        return cls(scan, stem, ContextReader(stem, host, dopants), **options)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the detector channels."""
        return tuple(str(self._scan.get_channel_name(i)) for i in range(self._scan.channel_count))

    @property
    def field_limit_nm(self) -> float:
        """Widest field that the scan reaches."""
        return float(
            self._scan.scan_device.calculate_max_field_of_view(self._scan.get_current_frame_parameters())
        )

    @property
    def is_blanked(self) -> bool:
        """Whether the beam is off the sample; False where there is no blanker."""
        return self._beam.is_blanked

    def context(self, channel: str = "") -> ImagingContext:
        """Conditions as the controls stand."""
        return self._reader.read({}, channel_name=channel or self.channels[0])

    def dose_e_per_angstrom2(self, request: ScanRequest) -> float:
        """Probe current times dwell time on the area of a pixel.

        Raises
        ------
        InputError
            Where no control gives the current.
        """
        timing = {"hardware_source": {"pixel_time_us": request.dwell_s * 1e6}}
        pixel = request.pixel_nm
        dose = self._reader.read(
            timing, channel_name=self.channels[0], pixel_size_nm=(pixel, pixel)
        ).dose_e_per_angstrom2
        if isinstance(dose, Missing):
            raise InputError(
                f"The dose of a frame cannot be told: {dose.reason}. Without it no limit could be held; have the "
                "instrument give its probe current, or name the control that does."
            )
        return dose.value

    def scan(self, request: ScanRequest) -> ScannedFrame:
        """Scan one whole frame; the beam is let through before and blanked after it.

        Raises
        ------
        Stopped
            After `abort`.
        InputError
            A channel that is not there, or a scan that is busy.
        """
        parameters = self._parameters(request)
        if self._scan.is_recording:
            raise InputError("The scan is recording something else. Wait until it has ended, or abort it.")
        channels_before = self._scan.get_enabled_channel_indexes()
        started_ns, frames = 0, []
        try:
            self._abort.raise_if_set()
            self.unblank()
            started_ns = time.monotonic_ns()
            frames = record_frame(self._scan, parameters, request.seconds + self._timeout_s, self._abort)
        finally:
            self._beam.rest()
            ended_ns = time.monotonic_ns()
            self._scan.set_enabled_channels(channels_before)
        self._abort.raise_if_set()
        by_name = {str(f.metadata["hardware_source"]["channel_name"]): f for f in frames if f is not None}
        wanted = request.channels or self.channels[:1]
        if any(name not in by_name for name in wanted):
            raise InputError(
                f"The scan gave no whole frame of {', '.join(n for n in wanted if n not in by_name)}. "
                "Was it stopped elsewhere?"
            )
        first = by_name[wanted[0]]
        self.metadata = first.metadata
        scan, detector = first.metadata.get("scan", {}), first.metadata.get("hardware_source", {})
        height, width = first.data_shape
        return ScannedFrame(
            images={name: np.array(by_name[name].data) for name in wanted},
            contexts={name: self._frame_context(name, by_name[name], request) for name in wanted},
            frame=FrameIdentity(
                str(scan.get("scan_id", "")), int(detector.get("frame_index") or 0), height, (height, width)
            ),
            request=request,
            started_ns=started_ns,
            ended_ns=ended_ns,
        )

    def shift(self, dy_nm: float, dx_nm: float) -> None:
        """Shift the beam, so that what lay at (y, x) lies at (y - dy, x - dx).

        Raises
        ------
        InputError
            Where the instrument did not take it.
        """
        self._beam.shift(dy_nm, dx_nm)

    def park(self, position_nm: Pair) -> None:
        """Rest the probe at y, x; within `kept` the field is moved there where it does not hold the point.

        Raises
        ------
        InputError
            Where the point lies outside the field that is set, and nobody would set it back.
        """
        self._beam.park(position_nm, may_move_field=self._abort.keeping)

    def blank(self) -> None:
        """Take the beam off the sample, from any thread."""
        self._beam.blank()

    def unblank(self) -> None:
        """Let the beam through and wait until it stands still."""
        self._beam.unblank()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """On leaving, scan parameters, channels, beam shift and probe position are as they were, the beam blanked.

        A live view that was running is not started again: it would expose what the session took care of.
        """
        scan, beam = self._scan, self._beam
        with self._abort.kept():
            current, record = scan.get_current_frame_parameters(), scan.get_record_frame_parameters()
            channels, probe = list(scan.get_enabled_channel_indexes()), scan.probe_position
            shift_m = beam.shift_m
            scan.abort_playing(sync_timeout=END_S)
            try:
                yield
            finally:
                beam.rest()
                with contextlib.ExitStack() as restoring:  # every step is taken, whatever the others raise
                    if beam.is_blanked:  # otherwise the probe stays in its corner
                        restoring.callback(setattr, scan, "probe_position", probe)
                    restoring.callback(scan.set_enabled_channels, channels)
                    restoring.callback(scan.set_record_frame_parameters, record)
                    restoring.callback(scan.set_current_frame_parameters, current)
                    restoring.callback(setattr, beam, "shift_m", shift_m)
                    restoring.callback(scan.abort_recording, sync_timeout=END_S)

    def abort(self) -> None:
        """Stop a running scan at once, and keep one that is about to begin from beginning."""
        self._abort.set()
        abort_recording(self._scan)

    def _parameters(self, request: ScanRequest) -> Any:
        names = self.channels
        if strange := [c for c in request.channels if c not in names]:
            raise InputError(f"There is no channel {', '.join(strange)}. The channels are {', '.join(names)}.")
        p = copy.copy(self._scan.get_current_frame_parameters())
        p.center_nm = Geometry.FloatPoint(*request.centre_nm)
        p.fov_nm = request.field_of_view_nm
        p.pixel_size = Geometry.IntSize(*request.shape)
        p.pixel_time_us = request.dwell_s * 1e6
        p.rotation_rad = request.rotation_rad
        p.subscan_pixel_size = p.subscan_fractional_size = p.subscan_fractional_center = None
        p.subscan_rotation = 0.0
        p.enabled_channel_indexes = sorted(names.index(c) for c in request.channels or names[:1])
        return p

    def _frame_context(self, channel: str, xdata: Any, request: ScanRequest) -> ImagingContext:
        pixel = request.pixel_nm
        return self._reader.read(xdata.metadata, channel_name=channel, pixel_size_nm=(pixel, pixel))
