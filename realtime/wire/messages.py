"""The headers of the wire: one frozen record for every request and reply, described byte by byte in `docs/wire.md`."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from realtime.wire.limits import DTYPES, MAX_ARRAYS, MAX_AXIS, MAX_RANK, MINOR, SESSION_BYTES, Limits
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.context import ImagingContext
from stemctx_core.errors import ProtocolError
from stemctx_core.results import CalibrationSummary, EngineInfo, FrameIdentity, Refusal

SessionId = Annotated[bytes, msgspec.Meta(min_length=SESSION_BYTES, max_length=SESSION_BYTES)]
RequestId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
ShortText = Annotated[str, msgspec.Meta(max_length=200)]
Axis = Annotated[int, msgspec.Meta(ge=0, le=MAX_AXIS)]


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    BUSY = 1
    STALE = 2
    BAD_REQUEST = 3
    TOO_LARGE = 4
    UNSUPPORTED_VERSION = 5
    MODEL_ERROR = 6
    SHUTTING_DOWN = 7
    UNSUPPORTED = 8
    ROWS_MISSING = 9


class WireError(ProtocolError):
    """A message that cannot be taken, with the status that its sender is answered with."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the numbers of a packed array stand for: value = offset + gain · number, as float32."""

    gain: Annotated[float, msgspec.Meta(ge=1e-30, le=1e30)]
    offset: Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]


class ArraySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One raw C-ordered array that follows the header.

    Attributes
    ----------
    dtype
        One of `limits.DTYPES`, checked by the decoder.
    nbytes
        Length of the part; must equal the item size times the shape.
    scaling
        Of an image or of patches that were packed into ``<u2``; left out of the header where None.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    dtype: Annotated[str, msgspec.Meta(pattern="^(" + "|".join(DTYPES) + ")$", max_length=3)]
    shape: Annotated[tuple[Axis, ...], msgspec.Meta(min_length=1, max_length=MAX_RANK)]
    nbytes: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    scaling: Scaling | None = None


ArraySpecs = Annotated[tuple[ArraySpec, ...], msgspec.Meta(max_length=MAX_ARRAYS)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    """What every request says.

    Attributes
    ----------
    session
        Random, drawn once a client; with `id` it names a request, and it outlives a reconnection.
    id
        Rises within a session.
    t_ns
        The client's own monotonic clock, echoed and never compared with another clock.
    arrays
        The parts that follow, in order; filled in by the encoder.
    """

    session: SessionId
    id: RequestId
    t_ns: Nanoseconds = 0
    arrays: ArraySpecs = ()


class Hello(Request, frozen=True, tag="hello"):
    """Open or renew a session; answered with `ServerHello`."""

    minor: Annotated[int, msgspec.Meta(ge=0, le=65535)] = MINOR
    client: ShortText = ""


class FrameRequest(Request, frozen=True, tag="frame"):
    """Judge a frame, or the rows of it that are there; array ``image`` (rows, columns).

    Attributes
    ----------
    deadline_ms
        Skip the frame, with `Status.STALE`, where it waited longer than this inside the server; None waits on.
    """

    context: ImagingContext
    frame: FrameIdentity
    deadline_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None


class RowsRequest(Request, frozen=True, tag="rows"):
    """New rows of a frame whose earlier rows this session sent; array ``image`` (new rows, columns).

    Attributes
    ----------
    first_row
        Where they belong; 0 begins a frame. Answered `Status.ROWS_MISSING` where the server lacks rows before it.
    frame
        ``valid_rows`` is ``first_row`` plus the number of rows sent, ``shape`` that of the whole frame.
    """

    context: ImagingContext
    frame: FrameIdentity
    first_row: Axis
    deadline_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None


class PatchesRequest(Request, frozen=True, tag="patches"):
    """Judge sites that were cut by the client.

    Arrays: ``patches`` (n, 32, 32) float32, lattice-registered; ``y_px``, ``x_px`` (n,) float32;
    ``sublattice`` (n,) uint8, 0 metal and 1 chalcogen. The server calibrates their intensities itself, so it needs
    a dozen or more on either sublattice.
    """

    context: ImagingContext
    frame: FrameIdentity
    deadline_ms: Annotated[float, msgspec.Meta(ge=0, le=600_000)] | None = None


class StatusRequest(Request, frozen=True, tag="status"):
    """Ask for `ServerStatus`; also the heartbeat of a live client.

    Attributes
    ----------
    detail
        Whether the stage histograms are wanted too.
    """

    detail: bool = False


class Cancel(Request, frozen=True, tag="cancel"):
    """Drop a waiting request of the same session; one that is being computed is finished and not answered."""

    target: RequestId


class Bye(Request, frozen=True, tag="bye"):
    """End the session; not answered. No message ends a server: whoever started it does."""


AnyRequest = Hello | FrameRequest | RowsRequest | PatchesRequest | StatusRequest | Cancel | Bye


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What a successful reply tells."""


class ServerHello(Body, frozen=True, tag="hello"):
    """Who serves.

    Attributes
    ----------
    version
        Of the package, for the user.
    model, model_sha256
        What judges frames.
    engine
        Which engine runs it, and why that one.
    """

    version: str
    model: str
    model_sha256: str
    engine: EngineInfo
    limits: Limits
    minor: int = MINOR


class StageStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Latency of one stage; `counts` belong to `telemetry.BUCKET_EDGES_MS`."""

    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    counts: tuple[int, ...] = ()


class ProcessStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the server's process holds: resident bytes, files and sockets, threads, and processor seconds used."""

    memory_bytes: int
    open_files: int
    threads: int
    cpu_s: float


class ServerStatus(Body, frozen=True, tag="status"):
    """How the server is.

    Attributes
    ----------
    under_way
        Requests of the asking session that wait or are computed.
    queue_depth
        Requests of all sessions that wait.
    """

    uptime_s: float
    model: str
    model_sha256: str
    engine: EngineInfo
    clients: int
    queue_depth: int
    under_way: int
    process: ProcessStatus
    counters: dict[str, int]
    stages: dict[str, StageStatus] = {}


class ResultBody(Body, frozen=True, tag="result"):
    """A `FrameResult` without its site table, which follows as arrays."""

    frame: FrameIdentity
    context: ImagingContext
    candidates: tuple[Candidate, ...]
    reasons: tuple[str, ...]
    refusal: Refusal | None
    warnings: tuple[str, ...]
    calibration: CalibrationSummary | None
    engine: EngineInfo
    model: str
    timing_ms: dict[str, float]
    frames_accumulated: int
    prior: tuple[float, ...] = ()


AnyBody = ServerHello | ServerStatus | ResultBody


class ErrorText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What went wrong, in words that name the fix."""

    code: str
    message: str


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answer to one request, which it names by session and id."""

    session: SessionId
    id: RequestId
    t_ns: Nanoseconds = 0
    status: Status = Status.OK
    error: ErrorText | None = None
    body: AnyBody | None = None
    arrays: ArraySpecs = ()


class Envelope(msgspec.Struct, frozen=True):
    """The little that is read of a request that cannot be taken, so that the answer can name it."""

    session: SessionId = bytes(SESSION_BYTES)
    id: RequestId = 0
    t_ns: Nanoseconds = 0
