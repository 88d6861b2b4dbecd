"""What the tabs of the panel follow: the result on the screen, the state, and the rule of what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nion.utils import Event

from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import FrameOrigin, LiveStatus
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from nionswift_plugin.stemctx.statistics.counts import SessionStatistics
from stemctx_core.results import FrameIdentity, FrameResult

if TYPE_CHECKING:
    from nionswift_plugin.stemctx.service.live_service import LiveService


class LiveFeed:
    """Outlives starts, stops and changes of the scan device; only to be used on the window's thread.

    Attributes
    ----------
    service
        The live service, or None before the first start; another one after the scan device was changed.
    result, origin
        What is on the screen and where it belongs, or None where nothing is.
    before
        Where `result` is about the rows of a frame that is being scanned: what the whole frame before showed.
    status
        The service as it said last.
    rule
        Which flags are shown, see `nionswift_plugin.stemctx.service.shown.shown_sites`.
    statistics
        What was on the screen so far.
    result_changed, status_changed, rule_changed
        Events without arguments; `listen` returns a listener, to be kept and closed.
    """

    def __init__(self) -> None:
        self.service: LiveService | None = None
        self.result: FrameResult | None = None
        self.origin: FrameOrigin | None = None
        self.before: FrameResult | None = None
        self._frames: dict[FrameIdentity, TappedFrame] = {}
        self.status = LiveStatus()
        self.rule = ShownRule()
        self.statistics = SessionStatistics()
        self.result_changed: Any = Event.Event()
        self.status_changed: Any = Event.Event()
        self.rule_changed: Any = Event.Event()

    def show(
        self,
        result: FrameResult | None,
        origin: FrameOrigin | None = None,
        before: FrameResult | None = None,
    ) -> None:
        """A result is on the screen from now on, or none."""
        if result is self.result:
            return
        self.result, self.origin, self.before = result, origin, before
        self._frames = {}
        for shown in (result, before):
            frame = self.service.frame(shown.frame) if shown is not None and self.service is not None else None
            if shown is not None and frame is not None:
                self._frames[shown.frame] = frame
        if result is not None and origin is not None:
            self.statistics.add(result, origin.field, self.status.latency_ms, origin.passes)
        self.result_changed.fire()

    def frame_of(self, result: FrameResult) -> TappedFrame | None:
        """The frame that a result on the screen is about; the result may be frozen, its frame is kept with it."""
        return self._frames.get(result.frame)

    def say(self, status: LiveStatus) -> None:
        """The service is like this from now on."""
        if status != self.status:
            self.status = status
            self.status_changed.fire()

    def use(self, rule: ShownRule) -> None:
        """Show by this rule from now on, what is shown already too."""
        if rule != self.rule:
            self.rule = rule
            self.rule_changed.fire()
