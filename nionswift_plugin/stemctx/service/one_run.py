"""One start of the live service: its ledger, client and tap, and which frames are sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

from nionswift_plugin.stemctx.context.frame_values import number
from nionswift_plugin.stemctx.service.ledger import FrameLedger
from nionswift_plugin.stemctx.service.tap import FrameTap
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from realtime.client import DefectClient
from stemctx_core.results import FrameIdentity

#: Of frames that take no longer (s), only the whole ones are sent.
SOON_WHOLE_S: Final = 1.0


@dataclass
class OneRun:
    """What belongs to one start; what comes of an earlier one is passed over.

    Attributes
    ----------
    ledger
        Which frames were sent, and which results may be shown.
    starter
        Thread that starts the rest.
    client, tap
        None while they are being started.
    stopped
        Whether it is over.
    """

    ledger: FrameLedger = field(default_factory=FrameLedger)
    starter: threading.Thread | None = None
    client: DefectClient | None = None
    tap: FrameTap | None = None
    stopped: bool = False
    _field: tuple[object, ...] = ()
    _whole_sent: FrameIdentity | None = None

    @property
    def is_starting(self) -> bool:
        """Whether the start is still under way."""
        return self.starter is not None and self.starter.is_alive()

    @property
    def replaced(self) -> int:
        """Frames that a newer one replaced before they were sent."""
        waiting = self.client.counters.replaced if self.client is not None else 0
        return waiting + (self.tap.replaced if self.tap is not None else 0)

    def close(self) -> None:
        """Listen to nothing any more; waits for threads, so to be called without a lock that they may want."""
        if self.tap is not None:
            self.tap.close()
        if self.client is not None:
            self.client.close()

    def forget(self) -> None:
        """What is under way or shown holds no more, such as after another host was declared."""
        self.ledger.forget_shown()
        if self.client is not None:
            self.client.drain("")
            self._whole_sent = None

    def wants(self, frame: TappedFrame, partial_frames: bool) -> bool:
        """Note a frame, and say whether it is to be sent.

        Rows of a frame that is soon whole are left out: the server would still be at work on them when it is.
        """
        self.ledger.seen(frame)
        client = self.client
        if client is not None and self._field not in ((), frame.field):
            client.drain(frame.scan_id)  # of a field that is left, nothing will be shown
            self._whole_sent = None
        self._field = frame.field
        # The first rows of the next frame must not replace a whole one that waits for its turn.
        rows_wanted = partial_frames and self._whole_sent is None and _takes_long(frame)
        return client is not None and frame.valid_rows > 0 and (frame.complete or rows_wanted)

    def sent(self, frame: TappedFrame, hardware_source_id: str) -> FrameIdentity:
        """Note a frame that is about to be sent, and name it."""
        identity = self.ledger.sent(frame, hardware_source_id)
        if frame.complete:
            self._whole_sent = identity
        return identity

    def answered(self, frame: FrameIdentity | None) -> None:
        """Note that a frame was answered, or that one never will be."""
        if frame is None or frame == self._whole_sent:
            self._whole_sent = None


def _takes_long(frame: TappedFrame) -> bool:
    exposure_s = number(frame.metadata.get("hardware_source", {}).get("exposure"))
    return exposure_s is None or exposure_s > SOON_WHOLE_S
