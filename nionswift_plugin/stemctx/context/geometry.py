"""What the angles of a detector hold for: the scan device, the channel, and what says where the detector stands.

Angles that the operator entered are those of one camera length and one detector. When one of them changes, they are
not used any more until they are entered again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from nionswift_plugin.stemctx.context.frame_values import number

#: Quantities that belong to a camera length and a detector.
ANGLES: Final = ("inner_mrad", "outer_mrad")
#: Controls are believed to be the same within this part of their value: they are read back with noise.
_SAME: Final = 1e-3


class Geometry(msgspec.Struct, frozen=True):
    """Where a detector stood.

    Attributes
    ----------
    scan_device, channel
        Which detector.
    controls
        Values of the controls that tell its place, by name; those that the instrument does not know are left out.
    """

    scan_device: str = ""
    channel: str = ""
    controls: dict[str, float] = {}

    def change(self, now: Geometry) -> str:
        """What is another now, in words; empty where nothing is. A control that does not answer tells nothing."""
        for what, was, is_ in (
            ("scan device", self.scan_device, now.scan_device),
            ("channel", self.channel, now.channel),
        ):
            if was != is_:
                return f"for the {what} {was}, and it is {is_} now"
        for name in sorted(self.controls.keys() & now.controls.keys()):
            before, after = self.controls[name], now.controls[name]
            if abs(after - before) > _SAME * abs(before):
                return f"when {name} was {before:g}, and it is {after:g} now"
        return ""


def geometry(
    scan_device: str, channel: str, names: Sequence[str], read: Callable[[str], float | None]
) -> Geometry:
    """Where the detector stands now.

    Parameters
    ----------
    names
        Controls that tell it; ``{channel}`` stands for the channel.
    read
        Value of a control, or None where there is none.
    """
    values = {name: read(name) for name in (n.replace("{channel}", channel) for n in names)}
    known = {name: value for name, value in values.items() if value is not None}
    return Geometry(scan_device, channel, known)


def reading(stem_controller: Any) -> Callable[[str], float | None]:
    """Reads a control at once; None where there is no instrument, no such control, or no answer."""

    def read(name: str) -> float | None:
        try:
            exists, value = stem_controller.TryGetVal(name)
        except Exception:  # of an instrument that does not answer, nothing is known
            return None
        return number(value) if exists else None

    return read
