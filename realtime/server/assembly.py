"""Rows that come one after the other, put together to the frame so far; one frame for each client."""

from __future__ import annotations

from typing import Final

import numpy as np

from realtime.wire.codec import AnyArray
from realtime.wire.messages import FrameRequest, RowsRequest, Status, WireError
from stemctx_core.results import FrameIdentity

Name = tuple[str, int, tuple[int, int]]
_NOTHING: Final = np.zeros((0, 0), np.float32)


class FrameAssembly:
    """Keeps the rows of the frame that a client is sending.

    They are put together as they arrive, not when they are judged: the rows of a request that a newer one replaces
    are kept. What was handed out never changes, since only rows beyond it are written.
    """

    def __init__(self) -> None:
        self._name: Name = ("", -1, (0, 0))
        self._rows: AnyArray = _NOTHING
        self._buffer: AnyArray | None = None

    def take(self, request: FrameRequest | RowsRequest, image: AnyArray) -> AnyArray:
        """Add what came; give the frame so far (rows, columns), read-only.

        Parameters
        ----------
        request, image
            As `realtime.wire.codec.decode_request` gives them.

        Raises
        ------
        WireError
            `Status.ROWS_MISSING`: the rows before these are not here; the sender should send all of them.
        """
        if isinstance(request, FrameRequest):
            rows = image[: request.frame.valid_rows or len(image)]
            partial = len(rows) < request.frame.shape[0] and image.shape[1] == request.frame.shape[1]
            self._keep(_name(request.frame), rows if partial else _NOTHING)
            return image
        if request.first_row == 0:
            self._keep(_name(request.frame), image)
            return image
        have = len(self._rows)
        if _name(request.frame) != self._name or image.dtype != self._rows.dtype or request.first_row > have:
            raise WireError(
                Status.ROWS_MISSING,
                f"The rows before row {request.first_row} of this frame are not here. Send the frame from row 0.",
            )
        new = image[have - request.first_row :]  # rows that came twice stand as they came first
        if len(new):
            self._append(new)
        return self._rows[: request.first_row + len(image)]

    def _keep(self, name: Name, rows: AnyArray) -> None:
        self._name, self._rows, self._buffer = name, rows, None

    def _append(self, new: AnyArray) -> None:
        have = len(self._rows)
        if self._buffer is None:
            self._buffer = np.empty(self._name[2], self._rows.dtype)
            self._buffer[:have] = self._rows
        self._buffer[have : have + len(new)] = new
        self._rows = self._buffer[: have + len(new)]
        self._rows.flags.writeable = False


def _name(frame: FrameIdentity) -> Name:
    return frame.scan_id, frame.frame_index, frame.shape
