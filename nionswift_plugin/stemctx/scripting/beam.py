"""The beam of a Nion column: let through, taken off the specimen, shifted, rested on a point."""

from __future__ import annotations

import copy
import logging
from typing import Any, Final

import numpy as np
from nion.utils import Geometry

from nionswift_plugin.stemctx.scripting.abort import Abort
from realtime.autonomy.microscope import Pair
from stemctx_core.errors import InputError

logger = logging.getLogger(__name__)

BLANKER: Final = "C_Blank"
SHIFT: Final = "CSH"


class Beam:
    """Acts on the beam; `blank` and `rest` from any thread, the others from one.

    Parameters
    ----------
    scan, stem_controller
        Nion's scan hardware source and STEM controller.
    abort
        Somebody's wish to end; nothing is let through after it.
    blanker
        Name of the control that blanks at 1. Without one the probe rests in the corner of the scanned field.
    shift_control
        Name of the two-dimensional control (m) that shifts the beam.
    settle_s
        How long the beam takes to stand still after it was unblanked or shifted.
    """

    def __init__(
        self,
        scan: Any,
        stem_controller: Any,
        abort: Abort,
        *,
        blanker: str = BLANKER,
        shift_control: str = SHIFT,
        settle_s: float = 0.05,
    ) -> None:
        self._scan, self._stem, self._abort = scan, stem_controller, abort
        self._blanker, self._shift_control = blanker, shift_control
        self._settle_s = settle_s

    @property
    def is_blanked(self) -> bool:
        """Whether the beam is off the sample; False where there is no blanker."""
        exists, value = self._stem.TryGetVal(self._blanker)
        return bool(exists and value)

    def blank(self) -> None:
        """Take the beam off the sample."""
        if not (self._stem.TryGetVal(self._blanker)[0] and self._stem.SetVal(self._blanker, 1.0)):
            self._scan.probe_position = Geometry.FloatPoint(0.0, 0.0)

    def rest(self) -> None:
        """Take the beam off the sample, and where the blanker fails into the corner of the field; never raises for it."""
        try:
            self.blank()
        except Exception:
            logger.exception("The beam could not be blanked")
            self._scan.probe_position = Geometry.FloatPoint(0.0, 0.0)

    def unblank(self) -> None:
        """Let the beam through and wait until it stands still; raise `Stopped` after an abort."""
        self._abort.raise_if_set()
        if self.is_blanked:
            self._stem.SetVal(self._blanker, 0.0)
            if self._abort.is_set:  # by a thread that had blanked before we let the beam through
                self.rest()
            self._abort.raise_if_set()
            self._settle()

    @property
    def shift_m(self) -> Any:
        """Nion's point (m): how far the beam is shifted; (0, 0) where there is no such control."""
        return self._stem.GetVal2D(self._shift_control, Geometry.FloatPoint(), axis=self._axis)

    @shift_m.setter
    def shift_m(self, value: Any) -> None:
        if self.shift_m == value:
            return
        if not self._stem.SetVal2D(self._shift_control, value, axis=self._axis):
            raise InputError(f"The instrument did not take the beam shift ({self._shift_control}).")

    def shift(self, dy_nm: float, dx_nm: float) -> None:
        """Shift, so that what lay at (y, x) lies at (y - dy, x - dx); `InputError` where the instrument does not."""
        now = self._stem.GetVal2D(self._shift_control, axis=self._axis)
        self.shift_m = Geometry.FloatPoint(y=now.y + dy_nm * 1e-9, x=now.x + dx_nm * 1e-9)
        self._settle()

    def park(self, position_nm: Pair, may_move_field: bool) -> None:
        """Rest the probe at y, x in scan coordinates.

        Parameters
        ----------
        may_move_field
            Whether the field that is set may be moved there where it does not hold the point.

        Raises
        ------
        InputError
            Where it does not, and may not be moved.
        """
        p = self._scan.get_current_frame_parameters()
        fraction = _fraction(p, position_nm)
        if not all(0 <= f <= 1 for f in fraction):
            if not may_move_field:
                raise InputError(
                    f"({position_nm[0]:g}, {position_nm[1]:g}) nm lies outside the field of {p.fov_nm:g} nm around "
                    f"({p.center_nm[0]:g}, {p.center_nm[1]:g}). Move the field there first."
                )
            p = copy.copy(p)
            p.center_nm = Geometry.FloatPoint(*position_nm)
            self._scan.set_current_frame_parameters(p)
            fraction = _fraction(p, position_nm)
        self._scan.probe_position = Geometry.FloatPoint(*fraction)

    @property
    def _axis(self) -> Any:
        return self._stem.resolve_axis("scan")

    def _settle(self) -> None:
        if self._settle_s > 0:
            self._abort.wait(self._settle_s)


def _fraction(parameters: Any, position_nm: Pair) -> Pair:
    """Fractions of the field (y, x) at which a point of the scan's coordinates lies."""
    p = parameters
    longer = max(p.pixel_size.height, p.pixel_size.width)
    dy, dx = position_nm[0] - p.center_nm[0], position_nm[1] - p.center_nm[1]
    c, s = np.cos(p.rotation_rad), np.sin(p.rotation_rad)
    extent_y, extent_x = (p.fov_nm * n / longer for n in (p.pixel_size.height, p.pixel_size.width))
    return float((dy * c - dx * s) / extent_y + 0.5), float((dx * c + dy * s) / extent_x + 0.5)
