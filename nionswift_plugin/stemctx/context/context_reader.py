"""What was imaged and how, read from the frame and the instrument, each value with its source.

For every value the order is: the frame's own metadata, the instrument's control, what the user entered; and where
none of them has it, `Missing` with what was tried. Nothing is assumed. Instruments do not agree on control names or
units, so the names are configurable, and an angle below 1 is taken as rad, a high tension above 1000 as V.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from nionswift_plugin.stemctx.context.frame_values import (
    from_frame,
    kilovolts,
    milliradians,
    number,
    pixel_size,
)
from nionswift_plugin.stemctx.context.geometry import ANGLES, Geometry, geometry
from nionswift_plugin.stemctx.threads.throttle import Throttle
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.context import ImagingContext, Known, Missing, Quantity, Source
from stemctx_core.dose import dose_e_per_angstrom2

logger = logging.getLogger(__name__)

#: Quantities that a user may enter where neither frame nor instrument has them, and their units.
USER_QUANTITIES: Final = {
    "high_tension_kv": "kV",
    "convergence_semi_angle_mrad": "mrad",
    "inner_mrad": "mrad",
    "outer_mrad": "mrad",
}


class ControlNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names under which instruments are known to give a value, tried in order.

    ``{channel}`` stands for the name of the detector channel, so that MAADF never gets the angles of HAADF. The
    first name of each pair is that of Nion instruments' frame metadata, the second that of simulated ones. Those of
    `camera_length` are not tried in order: every one that there is tells whether angles that were entered still hold.
    """

    high_tension: tuple[str, ...] = ("EHT",)
    convergence: tuple[str, ...] = ("probe_ha", "ConvergenceAngle")
    inner: tuple[str, ...] = ("{channel}_Inner_ha", "{channel}_InnerAngle")
    outer: tuple[str, ...] = ("{channel}_Outer_ha", "{channel}_OuterAngle")
    beam_current: tuple[str, ...] = ("BeamCurrent",)
    camera_length: tuple[str, ...] = ("CameraLength",)


@dataclass
class _Cached:
    value: float | None
    error: str
    read_s: float


@dataclass(frozen=True)
class ContextReader:
    """Reads an `ImagingContext`; to be called on a worker thread, because instrument controls may be slow.

    Parameters
    ----------
    stem_controller
        Nion's STEM controller, or None where there is no instrument.
    host, dopants, expected
        As the user declared them.
    user
        Values that the user entered, by the names in `USER_QUANTITIES`; they fill what is not known otherwise.
    entered_for
        Where the detector stood when they were entered; without it they hold everywhere.
    scan_device
        Which scan device the frames come from.
    controls
        Candidate control names.
    time_to_live_s
        How long the value of a control is believed before it is read again (s).

    Attributes
    ----------
    outdated
        Why a value that was entered does not hold any more, by quantity; it is not used again.
    """

    stem_controller: Any
    host: str
    dopants: tuple[str, ...] = ()
    expected: Expected = Expected()
    user: Mapping[str, float] = field(default_factory=dict)
    entered_for: Geometry | None = None
    scan_device: str = ""
    controls: ControlNames = ControlNames()
    time_to_live_s: float = 1.0
    outdated: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _cache: dict[str, _Cached] = field(default_factory=dict, init=False, repr=False, compare=False)
    _log: Throttle = field(default_factory=lambda: Throttle(30.0), init=False, repr=False, compare=False)

    def read(
        self,
        metadata: Mapping[str, Any],
        *,
        channel_name: str = "",
        pixel_size_nm: tuple[float, float] | None = None,
    ) -> ImagingContext:
        """Context of a frame.

        Parameters
        ----------
        metadata
            As the frame came with it.
        channel_name
            Detector channel; by default as the metadata say.
        pixel_size_nm
            (y, x) from the frame's calibrations (nm).
        """
        channel = channel_name or str(metadata.get("hardware_source", {}).get("channel_name", ""))
        channel = channel.removesuffix(" Subscan")
        pixel = pixel_size(pixel_size_nm)
        return ImagingContext(
            host=self.host,
            dopants=self.dopants,
            high_tension_kv=self._high_tension(metadata),
            convergence_semi_angle_mrad=self._angle(
                "convergence_semi_angle_mrad", self.controls.convergence, metadata, channel
            ),
            inner_mrad=self._angle("inner_mrad", self.controls.inner, metadata, channel),
            outer_mrad=self._angle("outer_mrad", self.controls.outer, metadata, channel),
            pixel_size_angstrom=pixel,
            dose_e_per_angstrom2=self._dose(metadata, pixel),
            channel=channel,
            expected=self.expected,
        )

    def _high_tension(self, metadata: Mapping[str, Any]) -> Quantity:
        found = from_frame(metadata, self.controls.high_tension)
        if found is None:
            value = number(metadata.get("instrument", {}).get("high_tension"))
            found = None if value is None else (value, "instrument.high_tension")
        if found is not None:
            return Known(kilovolts(found[0]), Source.FRAME, found[1])
        return self._from_instrument_or_user("high_tension_kv", self.controls.high_tension, kilovolts)

    def _angle(
        self, quantity: str, templates: Sequence[str], metadata: Mapping[str, Any], channel: str
    ) -> Quantity:
        names = tuple(template.replace("{channel}", channel) for template in templates)
        found = from_frame(metadata, names)
        if found is not None:
            return Known(milliradians(found[0]), Source.FRAME, found[1])
        return self._from_instrument_or_user(quantity, names, milliradians, channel)

    def _from_instrument_or_user(
        self, quantity: str, names: Sequence[str], convert: Any, channel: str = ""
    ) -> Quantity:
        errors = []
        for name in names:
            value, error = self._control(name)
            if value is not None:
                return Known(convert(value), Source.INSTRUMENT, f"control {name}")
            if error:
                errors.append(error)
        entered = number(self.user.get(quantity))
        if entered is not None and quantity in ANGLES and self.entered_for is not None:
            change = self._change(self.entered_for, channel)
            if change:
                self.outdated.setdefault(quantity, f"you entered {entered:g} mrad {change}: enter it again")
        if quantity in self.outdated:
            return Missing(self.outdated[quantity])
        if entered is not None:
            return Known(entered, Source.USER, "entered in the panel")
        tried = ", ".join(names) or "none configured"
        failed = f" ({'; '.join(errors)})" if errors else ""
        return Missing(f"neither the frame nor a control ({tried}) gives it{failed}, and you entered none")

    def _change(self, was: Geometry, channel: str) -> str:
        """What is another than when angles were entered, in words."""
        now = geometry(
            self.scan_device, channel, self.controls.camera_length, lambda name: self._control(name)[0]
        )
        return was.change(now)

    def _dose(self, metadata: Mapping[str, Any], pixel: Quantity) -> Quantity:
        dwell_us = number(metadata.get("hardware_source", {}).get("pixel_time_us"))
        if dwell_us is None or isinstance(pixel, Missing):
            return Missing("the frame has no dwell time or no pixel size")
        for name in self.controls.beam_current:
            current_a, _ = self._control(name)
            if current_a is not None and current_a > 0:
                dose = dose_e_per_angstrom2(current_a, dwell_us, pixel.value)
                return Known(dose, Source.INSTRUMENT, f"control {name} times dwell time")
        return Missing("no control gives the beam current")

    def _control(self, name: str) -> tuple[float | None, str]:
        """Value of a control and, where reading it failed, the error in words."""
        now = time.monotonic()
        cached = self._cache.get(name)
        if cached is None or now - cached.read_s > self.time_to_live_s:
            cached = self._cache[name] = _Cached(*self._read_control(name), now)
        return cached.value, cached.error

    def _read_control(self, name: str) -> tuple[float | None, str]:
        if self.stem_controller is None:
            return None, "there is no instrument"
        try:
            exists, value = self.stem_controller.TryGetVal(name)
        except Exception as error:
            if self._log.ready():
                logger.warning("Control %s could not be read: %s", name, error, exc_info=True)
            return None, f"reading {name} failed: {error}"
        return (number(value) if exists else None), ""
