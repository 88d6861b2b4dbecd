"""A frame as the tap hands it on: pixels of our own, and what came with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class TappedFrame:
    """A frame, or the rows of it that are there, with nothing shared with the acquisition.

    Attributes
    ----------
    data
        (valid_rows, width) private copy that does not change; rows below are another frame's and are not here.
    valid_rows
        Number of rows that belong to this frame.
    shape
        Height and width of the whole frame in pixels.
    complete
        Whether all rows are there.
    scan_id
        New for every pass of the beam.
    frame_index
        As the acquisition counts; starts again at 0 with every start.
    channel_name
        Name of the detector channel, without the addition of a subscan.
    data_channel_id
        What the live data item of this channel is found by; a subscan has one of its own.
    metadata
        As the frame came with it.
    pixel_size_nm
        (y, x) from the dimensional calibrations, or None where they carry no length.
    received_ns
        Monotonic clock when the last row arrived (ns).
    calibrations
        Nion's, of the two axes.
    """

    data: NDArray[Any]
    valid_rows: int
    shape: tuple[int, int]
    complete: bool
    scan_id: str
    frame_index: int
    channel_name: str
    data_channel_id: str
    metadata: Mapping[str, Any]
    pixel_size_nm: tuple[float, float] | None
    received_ns: int
    calibrations: tuple[Any, ...] = ()

    @property
    def field(self) -> tuple[object, ...]:
        """What was scanned: equal for two frames whose flags belong to the same places."""
        scan = self.metadata.get("scan", {})
        names = ("center_x_nm", "center_y_nm", "fov_nm", "rotation", "subscan_rotation")
        areas = ("subscan_fractional_size", "subscan_fractional_center")
        return (
            self.data_channel_id,
            self.shape,
            *(scan.get(name) for name in names),
            *(tuple(scan.get(name) or ()) for name in areas),
        )
