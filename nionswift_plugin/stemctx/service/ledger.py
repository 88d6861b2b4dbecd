"""Which frames were sent, and which results may still be shown.

A result is shown when it belongs to the field that is being scanned now and is newer than the last one shown. The
scan gives every pass of the beam a new scan id, and the next pass has usually begun when a result comes; so it is
the field (channel, size, field of view, centre, rotation) that must still be the same, not the pass.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from nionswift_plugin.stemctx.service.passes import is_whole, may_yet_be_judged
from nionswift_plugin.stemctx.service.status import FlagAge, FrameOrigin
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from stemctx_core.results import FrameIdentity, FrameResult

_KEPT: Final = 64
#: Frames are kept until their results have come, the newest of them; a slow server must not fill the memory.
_KEPT_BYTES: Final = 128 * 2**20


class FrameLedger:
    """Keeps account of one start of the live service; every method may be called from any thread.

    Attributes
    ----------
    scanned
        Whole frames that the scan brought.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origins: OrderedDict[tuple[str, int], FrameOrigin] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int], TappedFrame] = OrderedDict()
        self._on_screen: dict[tuple[str, int], TappedFrame] = {}
        self._whole: tuple[FrameResult, FrameOrigin] | None = None
        self._shown: FrameOrigin | None = None
        self._field: tuple[object, ...] | None = None
        self._sent = self._passes = 0
        self.scanned = 0

    def seen(self, frame: TappedFrame) -> None:
        """Note what is being scanned now."""
        with self._lock:
            if self._field != frame.field:
                self._passes = 0
            self._field = frame.field
            self._passes += frame.complete
            self.scanned += frame.complete

    def sent(self, frame: TappedFrame, hardware_source_id: str) -> FrameIdentity:
        """Note a frame that is about to be sent, and name it."""
        identity = FrameIdentity(frame.scan_id, frame.frame_index, frame.valid_rows, frame.shape)
        with self._lock:
            self._sent += 1
            self._origins[_key(identity)] = FrameOrigin(
                hardware_source_id=hardware_source_id,
                data_channel_id=frame.data_channel_id,
                field=frame.field,
                number=self._sent,
                whole_frames=self.scanned,
                passes=self._passes + (not frame.complete),
            )
            self._frames[_key(identity)] = frame
            while len(self._origins) > _KEPT:
                self._origins.popitem(last=False)
            while len(self._frames) > 1 and _bytes(self._frames.values()) > _KEPT_BYTES:
                self._frames.popitem(last=False)
            while len(self._frames) > _KEPT:
                self._frames.popitem(last=False)
        return identity

    def origin(self, identity: FrameIdentity) -> FrameOrigin | None:
        """Where the result of a frame belongs, if the frame is among the last ones sent."""
        with self._lock:
            return self._origins.get(_key(identity))

    def accept(self, result: FrameResult) -> bool:
        """Whether a result that came may be shown; from then on it counts as shown."""
        key = _key(result.frame)
        with self._lock:
            frame = self._frames.pop(key, None)
            origin = self._origins.get(key)
            if origin is None or origin.field != self._field or may_yet_be_judged(result):
                return False
            if self._shown is not None and origin.number <= self._shown.number:
                return False
            self._shown = origin
            before = self._before(origin)
            if is_whole(result):
                self._whole, before = (result, origin), None
            keys = {key} if before is None else {key, _key(before.frame)}
            self._on_screen = {k: f for k, f in self._on_screen.items() if k in keys}
            if frame is not None:
                self._on_screen[key] = frame
            return True

    def before(self, identity: FrameIdentity) -> FrameResult | None:
        """What was found in the whole frame of the same field that was shown before the rows of this one."""
        with self._lock:
            origin = self._origins.get(_key(identity))
            return self._before(origin) if origin is not None else None

    def frame(self, identity: FrameIdentity) -> TappedFrame | None:
        """The frame that a result on the screen is about, where it is still held."""
        with self._lock:
            return self._on_screen.get(_key(identity))

    def _before(self, origin: FrameOrigin) -> FrameResult | None:
        if self._whole is None:
            return None
        result, whole = self._whole
        recent = whole.number < origin.number and origin.whole_frames - whole.whole_frames <= 1
        return result if recent and whole.field == origin.field else None

    def forget_shown(self) -> None:
        """What was shown holds no more, such as after another host was declared."""
        with self._lock:
            self._shown = self._whole = None

    def age(self) -> FlagAge:
        """Whether what was shown last still belongs to what is being scanned."""
        with self._lock:
            if self._shown is None or self._shown.field != self._field:
                return FlagAge.GONE
            # One frame behind is the rule: the next one is on its way to the server.
            return FlagAge.STALE if self.scanned - self._shown.whole_frames > 1 else FlagAge.FRESH


def _bytes(frames: Iterable[TappedFrame]) -> int:
    """Memory behind frames; those that are rows of one frame share it."""
    behind = [f.data if f.data.base is None else f.data.base for f in frames]
    return sum({id(array): array.nbytes for array in behind}.values())


def _key(identity: FrameIdentity) -> tuple[str, int]:
    return identity.scan_id, identity.valid_rows
