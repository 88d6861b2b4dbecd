"""Nion's microscopes, and simulated ones, as scripts see a microscope: `realtime.autonomy.microscope.Microscope`."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

import numpy as np
from nion.utils import Geometry, Registry

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from realtime.autonomy.limits import Stopped
from realtime.autonomy.microscope import Pair, ScannedFrame, ScanRequest
from stemctx_core.context import ImagingContext, Missing
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity

logger = logging.getLogger(__name__)

__all__ = ["NionMicroscope"]

BLANKER: Final = "C_Blank"
SHIFT: Final = "CSH"
_POLL_S: Final = 0.005
_END_S: Final = 10.0


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
    blanker
        Name of the control that blanks at 1. Without one the probe rests in the corner of the scanned field.
    shift_control
        Name of the two-dimensional control (m) that shifts the beam.
    settle_s
        How long the beam takes to stand still after it was unblanked or shifted.
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
        self._scan, self._stem, self._reader = scan, stem_controller, reader
        self._blanker, self._shift_control = blanker, shift_control
        self._settle_s, self._timeout_s = settle_s, timeout_s
        self._aborted = threading.Event()
        self._keeping = False

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
        exists, value = self._stem.TryGetVal(self._blanker)
        return bool(exists and value)

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
            self._raise_if_aborted()
            self.unblank()
            started_ns = time.monotonic_ns()
            frames = self._record(parameters, request.seconds + self._timeout_s)
        finally:
            self._rest()
            ended_ns = time.monotonic_ns()
            self._scan.set_enabled_channels(channels_before)
        self._raise_if_aborted()
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
        axis = self._stem.resolve_axis("scan")
        now = self._stem.GetVal2D(self._shift_control, axis=axis)
        self._set_shift(Geometry.FloatPoint(y=now.y + dy_nm * 1e-9, x=now.x + dx_nm * 1e-9))
        self._settle()

    def park(self, position_nm: Pair) -> None:
        """Rest the probe at y, x; within `kept` the field is moved there where it does not hold the point.

        Raises
        ------
        InputError
            Where the point lies outside the field that is set, and nobody would set it back.
        """
        p = self._scan.get_current_frame_parameters()
        fraction = _fraction(p, position_nm)
        if not all(0 <= f <= 1 for f in fraction):
            if not self._keeping:
                raise InputError(
                    f"({position_nm[0]:g}, {position_nm[1]:g}) nm lies outside the field of {p.fov_nm:g} nm around "
                    f"({p.center_nm[0]:g}, {p.center_nm[1]:g}). Move the field there first."
                )
            p = copy.copy(p)
            p.center_nm = Geometry.FloatPoint(*position_nm)
            self._scan.set_current_frame_parameters(p)
            fraction = _fraction(p, position_nm)
        self._scan.probe_position = Geometry.FloatPoint(*fraction)

    def blank(self) -> None:
        """Take the beam off the sample, from any thread."""
        if not (self._stem.TryGetVal(self._blanker)[0] and self._stem.SetVal(self._blanker, 1.0)):
            self._scan.probe_position = Geometry.FloatPoint(0.0, 0.0)

    def unblank(self) -> None:
        """Let the beam through and wait until it stands still."""
        self._raise_if_aborted()
        if self.is_blanked:
            self._stem.SetVal(self._blanker, 0.0)
            if self._aborted.is_set():  # by a thread that had blanked before we let the beam through
                self._rest()
            self._raise_if_aborted()
            self._settle()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """On leaving, scan parameters, channels, beam shift and probe position are as they were, the beam blanked.

        A live view that was running is not started again: it would expose what the session took care of.
        """
        scan = self._scan
        self._aborted.clear()
        before = (
            scan.get_current_frame_parameters(),
            scan.get_record_frame_parameters(),
            list(scan.get_enabled_channel_indexes()),
            scan.probe_position,
            self._stem.GetVal2D(
                self._shift_control, Geometry.FloatPoint(), axis=self._stem.resolve_axis("scan")
            ),
        )
        scan.abort_playing(sync_timeout=_END_S)
        self._keeping = True
        try:
            yield
        finally:
            self._keeping = False
            current, record, channels, probe, beam_shift = before
            self._rest()
            with contextlib.ExitStack() as restoring:  # every step is taken, whatever the others raise
                if self.is_blanked:  # otherwise the probe stays in its corner
                    restoring.callback(setattr, scan, "probe_position", probe)
                restoring.callback(scan.set_enabled_channels, channels)
                restoring.callback(scan.set_record_frame_parameters, record)
                restoring.callback(scan.set_current_frame_parameters, current)
                restoring.callback(self._set_shift, beam_shift)
                restoring.callback(scan.abort_recording, sync_timeout=_END_S)

    def abort(self) -> None:
        """Stop a running scan at once, and keep one that is about to begin from beginning."""
        self._aborted.set()
        self._abort_recording()

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

    def _record(self, parameters: Any, timeout_s: float) -> list[Any]:
        """Record on a thread of its own, so that this one can be interrupted and can abort again and again."""
        frames: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                frames.extend(self._scan.record_immediate(parameters, sync_timeout=timeout_s))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="stemctx-scan", daemon=True)
        thread.start()
        end = time.monotonic() + timeout_s
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                # An abort that came before the scan had begun found nothing to stop.
                if self._aborted.is_set():
                    self._abort_recording()
                elif time.monotonic() > end:
                    self._scan.abort_recording(sync_timeout=_END_S)
                    raise InputError(f"The scan did not end within {timeout_s:g} s; it was stopped.")
        except BaseException:
            self.abort()
            thread.join(_END_S)
            raise
        if errors and not self._aborted.is_set():
            raise errors[0]
        return frames

    def _abort_recording(self) -> None:
        try:
            self._scan.abort_recording()
        except (AssertionError, KeyError):
            # Nion looks whether something is recorded and then takes it, and it may have ended in between.
            logger.debug("The scan had ended before it could be aborted", exc_info=True)

    def _frame_context(self, channel: str, xdata: Any, request: ScanRequest) -> ImagingContext:
        pixel = request.pixel_nm
        return self._reader.read(xdata.metadata, channel_name=channel, pixel_size_nm=(pixel, pixel))

    def _raise_if_aborted(self) -> None:
        if self._aborted.is_set():
            if not self._keeping:
                self._aborted.clear()  # it was heard; within `kept` it holds to the end
            raise Stopped("The scan was stopped.")

    def _set_shift(self, value: Any) -> None:
        axis = self._stem.resolve_axis("scan")
        if self._stem.GetVal2D(self._shift_control, Geometry.FloatPoint(), axis=axis) == value:
            return
        if not self._stem.SetVal2D(self._shift_control, value, axis=axis):
            raise InputError(f"The instrument did not take the beam shift ({self._shift_control}).")

    def _rest(self) -> None:
        try:
            self.blank()
        except Exception:
            logger.exception("The beam could not be blanked")
            self._scan.probe_position = Geometry.FloatPoint(0.0, 0.0)

    def _settle(self) -> None:
        if self._settle_s > 0:
            self._aborted.wait(self._settle_s)
            self._raise_if_aborted()


def _fraction(parameters: Any, position_nm: Pair) -> Pair:
    """Fractions of the field (y, x) at which a point of the scan's coordinates lies."""
    p = parameters
    longer = max(p.pixel_size.height, p.pixel_size.width)
    dy, dx = position_nm[0] - p.center_nm[0], position_nm[1] - p.center_nm[1]
    c, s = np.cos(p.rotation_rad), np.sin(p.rotation_rad)
    extent_y, extent_x = (p.fov_nm * n / longer for n in (p.pixel_size.height, p.pixel_size.width))
    return float((dy * c - dx * s) / extent_y + 0.5), float((dx * c + dy * s) / extent_x + 0.5)
