"""What one simulated frame was rendered with; it travels in the frame's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sim.geometry import FrameGeometry
from stemctx_core.errors import InputError

#: Where a frame's metadata (`scan`, `scan_device_properties`) keeps what ground truth is computed from.
PROPERTY: Final = "stemctx_simulation"


class Shot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one frame was rendered with.

    Attributes
    ----------
    frame_number
        Counts frames since the device was made.
    geometry
        Where the frame lies on the specimen, drift included; None where nothing could be rendered.
    error
        Why the frame is dark, or empty.
    sample_number
        Counts samples that were put in; the truth of a frame is that of its own sample.
    imperfections
        One of `sim.crystal.IMPERFECTIONS`.
    replayed
        Name of the file that was shown in the place of a crystal, or empty.
    """

    frame_number: int
    geometry: FrameGeometry | None = None
    error: str = ""
    sample_number: int = 1
    imperfections: str = "pristine"
    replayed: str = ""


def shot(metadata: Mapping[str, Any]) -> Shot:
    """Read what a frame was rendered with; `InputError` where it is not one of the simulated microscope."""
    try:
        return msgspec.convert(metadata["scan"]["scan_device_properties"][PROPERTY], Shot)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise InputError(
            f"This frame is not one of the simulated microscope, so that it has no ground truth ({error!r}). "
            "Score only frames that it scanned."
        ) from None
