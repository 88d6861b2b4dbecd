"""A frame as the message that carries it: narrow types, and only the rows that the server does not have yet."""

from __future__ import annotations

import math
from typing import Final

from realtime.client.mailbox import Ticket
from realtime.client.states import AgeLimits
from realtime.wire import protocol
from realtime.wire.codec import AnyArray
from realtime.wire.limits import Limits
from realtime.wire.messages import FrameRequest, RowsRequest
from realtime.wire.protocol import Part
from stemctx_core.errors import ProtocolError
from stemctx_core.results import FrameIdentity

#: As far as the wire goes.
_MOST_DEADLINE_MS: Final = 600_000.0

_Name = tuple[str, int, tuple[int, int], str]


class Outgoing:
    """Lays frames out, and remembers which rows of the frame under the beam the server has.

    Parameters
    ----------
    session
        Of the client.
    age_limits
        How long a live frame may wait for its turn; what is left of it goes along as the deadline.
    packed
        Whether to send intensities as u16 where that loses little, for a server that is not on this machine.
    """

    def __init__(self, session: bytes, age_limits: AgeLimits, packed: bool = False) -> None:
        self._session, self._age_limits = session, age_limits
        self._packed = ("image",) if packed else ()
        self._name: _Name | None = None
        self._rows = 0

    def forget(self) -> None:
        """Send the next rows with all before them: the server may be another, or did not take what was sent."""
        self._name = None

    def laid_out(self, ticket: Ticket, limits: Limits) -> list[Part]:
        """Lay out a frame; from then on its rows count as sent.

        Raises
        ------
        ProtocolError
            What is no image, or is over the server's limits.
        """
        image, frame = ticket.image, ticket.frame
        if image.ndim != 2 or not image.size:
            raise ProtocolError(f"An image of shape {image.shape} cannot be sent. Send rows by columns.")
        if frame.valid_rows:
            image = image[: frame.valid_rows]  # the rows beyond are of an older frame
        if (image.dtype.kind == "f" and image.dtype.itemsize > 4) or (
            image.dtype.kind == "i" and image.dtype.itemsize > 2
        ):
            image = image.astype("<f4")  # the analysis works in float32: half the bytes
        if image.nbytes > limits.max_bytes or max(image.shape) > limits.max_side:
            raise ProtocolError(
                f"A frame of {image.shape} pixels ({image.nbytes} bytes) is over what the server takes "
                f"({limits.max_side} a side, {limits.max_bytes} bytes). Scan a smaller frame."
            )
        first_row = self._first_new_row(frame, image)
        self._note(frame, image)
        request: FrameRequest | RowsRequest = FrameRequest(
            session=self._session, id=ticket.id, t_ns=ticket.sent_ns,
            context=ticket.context, frame=frame, deadline_ms=self._deadline_ms(ticket),
        )  # fmt: skip
        if first_row is not None:
            image = image[first_row:]
            request = RowsRequest(
                session=request.session, id=request.id, t_ns=request.t_ns,
                context=request.context, frame=frame, deadline_ms=request.deadline_ms, first_row=first_row,
            )  # fmt: skip
        return protocol.encode(request, {"image": image}, packed=self._packed)

    def _deadline_ms(self, ticket: Ticket) -> float | None:
        if ticket.future is not None:
            return None  # who waits says himself how long
        left_ms = 1e3 * self._age_limits.left_s(ticket.queued_ns, ticket.since_ns, ticket.sent_ns)
        return min(max(0.0, left_ms), _MOST_DEADLINE_MS)

    def _first_new_row(self, frame: FrameIdentity, image: AnyArray) -> int | None:
        """Where a request for new rows begins; None where the frame goes as a whole."""
        if not _may_go_in_pieces(frame, image):
            return None
        if self._name == _name(frame, image) and self._rows < frame.valid_rows:
            return self._rows
        return 0 if frame.valid_rows < frame.shape[0] else None

    def _note(self, frame: FrameIdentity, image: AnyArray) -> None:
        partial = _may_go_in_pieces(frame, image) and frame.valid_rows < frame.shape[0]
        self._name, self._rows = (_name(frame, image) if partial else None), frame.valid_rows


def _may_go_in_pieces(frame: FrameIdentity, image: AnyArray) -> bool:
    """Only a frame that has a name of its own, and is as large as it says, can be told from another."""
    return bool(
        frame.scan_id
        and math.prod(frame.shape)
        and 0 < frame.valid_rows == len(image) <= frame.shape[0]
        and image.shape[1] == frame.shape[1]
    )


def _name(frame: FrameIdentity, image: AnyArray) -> _Name:
    return frame.scan_id, frame.frame_index, frame.shape, image.dtype.str
