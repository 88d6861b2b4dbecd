"""What the live service says of itself: settings that go in, states and counts that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nionswift_plugin.stemctx.context.context_reader import ControlNames
from nionswift_plugin.stemctx.context.geometry import Geometry
from realtime.recording.recorder import RecordingStatus
from stemctx_core.chemistry.prevalence import Expected


class LiveState(StrEnum):
    """State of the live service, as the panel says it."""

    OFF = "off"
    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    REFUSING = "refusing"
    FAILED = "failed"


class FlagAge(StrEnum):
    """Whether flags that were painted still belong to what is being scanned."""

    FRESH = "fresh"
    STALE = "stale"
    GONE = "gone"


@dataclass(frozen=True)
class LiveSettings:
    """What the user declares.

    Attributes
    ----------
    host
        Formula of the monolayer.
    dopants
        Elements looked for on the metal site.
    expected
        How often roles or species are expected.
    channel_index
        Detector channel of the scan device.
    partial_frames
        Whether frames that take over a second are sent while their rows arrive, or only when they are whole. A script
        wants whole frames; the panel begins with rows.
    user
        Values entered by the user, by `context_reader.USER_QUANTITIES`, used where nothing else gives them.
    controls
        Candidate control names of the instrument.
    entered_for
        Where the detector stood when angles were entered; without it they hold everywhere.
    """

    host: str = "WSe2"
    dopants: tuple[str, ...] = ("V",)
    expected: Expected = Expected()
    channel_index: int = 0
    partial_frames: bool = False
    user: Mapping[str, float] = field(default_factory=dict)
    controls: ControlNames = ControlNames()
    entered_for: Geometry | None = None


@dataclass(frozen=True)
class LiveStatus:
    """The service at one moment.

    Attributes
    ----------
    state, reason
        State, and in words why.
    flags
        Whether the flags that were painted last still hold.
    engine, model
        What judges, as the server says.
    latency_ms
        From the last row of a frame to its result (ms); None before the first result.
    scanned, answered, replaced, dropped
        Whole frames that the scan brought; results that came; frames that a newer one replaced before they were
        sent; results that came too late to be shown.
    recording
        How the recording is; None without one.
    """

    state: LiveState = LiveState.OFF
    reason: str = "not started"
    flags: FlagAge = FlagAge.GONE
    engine: str = ""
    model: str = ""
    latency_ms: float | None = None
    scanned: int = 0
    answered: int = 0
    replaced: int = 0
    dropped: int = 0
    recording: RecordingStatus | None = None


@dataclass(frozen=True)
class FrameOrigin:
    """Where a result belongs on the screen.

    Attributes
    ----------
    hardware_source_id, data_channel_id
        What the live data item is found by.
    field
        What was scanned, as `TappedFrame.field`.
    number
        Count of frames sent since the start.
    whole_frames
        Count of whole frames scanned when it was sent.
    passes
        How often the beam has passed this field, this frame included, as far as it has come.
    """

    hardware_source_id: str
    data_channel_id: str
    field: tuple[object, ...]
    number: int
    whole_frames: int
    passes: int = 1
