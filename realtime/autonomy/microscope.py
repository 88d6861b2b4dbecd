"""What a script needs of a microscope, and nothing more: small enough to write for another vendor's.

Positions are in *scan coordinates* (nm; y, x): (0, 0) is the middle of the scan range, a scan turned by r meets the
point centre + (y cos r + x sin r, x cos r - y sin r) at the offset (y, x) from the middle of its image.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.wire.codec import AnyArray
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity

Pair = tuple[float, float]


class ScanRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame to be scanned.

    Attributes
    ----------
    centre_nm
        y, x in scan coordinates.
    field_of_view_nm
        Side of the frame along its longer edge.
    shape
        Rows, columns.
    dwell_s
        Per pixel.
    rotation_rad
        Of the scan.
    channels
        Names of the detector channels to record; the first is the one that is judged. Empty: the default channel.
    """

    centre_nm: Pair
    field_of_view_nm: float
    shape: tuple[int, int]
    dwell_s: float
    rotation_rad: float = 0.0
    channels: tuple[str, ...] = ()

    @property
    def pixel_nm(self) -> float:
        """Side of a pixel."""
        return self.field_of_view_nm / max(self.shape)

    @property
    def extent_nm(self) -> Pair:
        """Height and width of the field."""
        return self.shape[0] * self.pixel_nm, self.shape[1] * self.pixel_nm

    @property
    def seconds(self) -> float:
        """How long the beam is on the field, fly-back left out."""
        return self.shape[0] * self.shape[1] * self.dwell_s

    @property
    def corners_nm(self) -> NDArray[np.float64]:
        """(4, 2) corners of the field, in order around it."""
        height, width = self.shape
        y_px, x_px = np.array([[0, 0], [0, width], [height, width], [height, 0]]).T - 0.5
        return np.stack(self.to_nm(y_px, x_px), axis=1)

    def electrons(self, dose_e_per_angstrom2: float) -> float:
        """Electrons that a dose puts on the specimen."""
        height_nm, width_nm = self.extent_nm
        return dose_e_per_angstrom2 * height_nm * width_nm * 100

    def to_nm(self, y_px: Any, x_px: Any) -> tuple[Any, Any]:
        """Scan coordinates (y, x; nm) of array-index coordinates; numbers or arrays."""
        dy = (np.asarray(y_px, float) - (self.shape[0] - 1) / 2) * self.pixel_nm
        dx = (np.asarray(x_px, float) - (self.shape[1] - 1) / 2) * self.pixel_nm
        c, s = np.cos(self.rotation_rad), np.sin(self.rotation_rad)
        return self.centre_nm[0] + dy * c + dx * s, self.centre_nm[1] + dx * c - dy * s

    def to_px(self, y_nm: Any, x_nm: Any) -> tuple[Any, Any]:
        """Array-index coordinates of scan coordinates (nm); numbers or arrays."""
        dy, dx = np.asarray(y_nm, float) - self.centre_nm[0], np.asarray(x_nm, float) - self.centre_nm[1]
        c, s = np.cos(self.rotation_rad), np.sin(self.rotation_rad)
        return (
            (dy * c - dx * s) / self.pixel_nm + (self.shape[0] - 1) / 2,
            (dx * c + dy * s) / self.pixel_nm + (self.shape[1] - 1) / 2,
        )


class ScannedFrame(msgspec.Struct, frozen=True):
    """A frame as it came.

    Attributes
    ----------
    images
        Channel name to (rows, columns), the caller's own copies, in the order of the request.
    contexts
        Channel name to how it was imaged, every value with its source.
    frame
        Which it is.
    request
        What was asked for.
    started_ns, ended_ns
        `time.monotonic_ns` when the first row began and when the last one was there.
    """

    images: dict[str, AnyArray]
    contexts: dict[str, ImagingContext]
    frame: FrameIdentity
    request: ScanRequest
    started_ns: int
    ended_ns: int

    @property
    def image(self) -> AnyArray:
        """Of the first channel."""
        return next(iter(self.images.values()))

    @property
    def context(self) -> ImagingContext:
        """Of the first channel."""
        return next(iter(self.contexts.values()))


class Microscope(Protocol):
    """Calls return when the microscope has done what was asked, and raise a `StemctxError` where it has not.

    `abort` and `blank` may be called from any thread at any time; the others from one thread.
    """

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the detector channels; the first is the default."""

    @property
    def field_limit_nm(self) -> float:
        """Widest field that the scan reaches without `shift`: centre and half a field of view lie within half of it."""

    def context(self, channel: str = "") -> ImagingContext:
        """Say how the microscope is set now."""

    def dose_e_per_angstrom2(self, request: ScanRequest) -> float:
        """Say what a frame would cost, before it is scanned.

        Raises
        ------
        InputError
            Where the probe current is not known, so that no limit on dose could be held.
        """

    def scan(self, request: ScanRequest) -> ScannedFrame:
        """Scan one whole frame; the beam rests parked or blanked afterwards.

        Raises
        ------
        Stopped
            After `abort`.
        """

    def shift(self, dy_nm: float, dx_nm: float) -> None:
        """Move beam or stage so that what lay at (y, x) lies at (y - dy, x - dx) in scan coordinates."""

    def park(self, position_nm: Pair) -> None:
        """Rest the probe at y, x; where it was blanked it stays so."""

    def blank(self) -> None:
        """Take the beam off the sample; safe at any time, from any thread."""

    def unblank(self) -> None:
        """Let the beam through."""

    def kept(self) -> AbstractContextManager[None]:
        """On leaving, by an error too: scan parameters and state as they were, the beam parked or blanked."""

    def abort(self) -> None:
        """Stop a running scan at once, from any thread, without waiting for it.

        Until `kept` is entered again, `scan` and `unblank` raise `Stopped` instead of letting the beam through.
        """
