"""What a script needs of a microscope, and nothing more. The plug-in and the simulated microscope implement it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from realtime.codec import AnyArray
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity


class ScanRequest(msgspec.Struct, frozen=True):
    """A frame to be scanned.

    Attributes
    ----------
    centre_nm
        y, x in the coordinates of the stage's present position; (0, 0) is the middle of the scan range.
    field_of_view_nm
        Side of the frame along its longer edge.
    shape
        Rows, columns.
    dwell_s
        Per pixel.
    rotation_rad
        Of the scan.
    """

    centre_nm: tuple[float, float]
    field_of_view_nm: float
    shape: tuple[int, int]
    dwell_s: float
    rotation_rad: float = 0.0


class ScannedFrame(msgspec.Struct, frozen=True):
    """A frame as it came.

    Attributes
    ----------
    image
        (rows, columns), the caller's own copy.
    context
        How it was imaged, every value with its source.
    frame
        Which it is.
    """

    image: AnyArray
    context: ImagingContext
    frame: FrameIdentity


class Microscope(Protocol):
    """Calls return when the microscope has done what was asked, and raise a `StemctxError` where it has not."""

    def context(self) -> ImagingContext:
        """Say how the microscope is set now."""

    def scan(self, request: ScanRequest) -> ScannedFrame:
        """Scan one whole frame."""

    def park(self, position_nm: tuple[float, float]) -> None:
        """Rest the probe at y, x."""

    def blank(self) -> None:
        """Take the beam off the sample; safe at any time."""
