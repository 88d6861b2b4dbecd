"""How the live service stands: from what its parts say to one state with the reason in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nionswift_plugin.stemctx.service.one_run import OneRun
from nionswift_plugin.stemctx.service.passes import may_yet_be_judged
from nionswift_plugin.stemctx.service.status import FlagAge, LiveState, LiveStatus
from realtime.client import ClientState, DefectClient
from stemctx_core.results import FrameResult

_STATES: Final = {
    ClientState.OFF: LiveState.CONNECTING,
    ClientState.CONNECTING: LiveState.CONNECTING,
    ClientState.LIVE: LiveState.LIVE,
    ClientState.STALE: LiveState.STALE,
    ClientState.REFUSED: LiveState.FAILED,
    ClientState.FAILED: LiveState.FAILED,
}


def standing(run: OneRun, said: LiveStatus, refusal: str) -> LiveStatus:
    """The status of a run now.

    Parameters
    ----------
    said
        What came of it so far.
    refusal
        Why the newest frame could not be judged; empty where it could.
    """
    client = run.client
    if client is None:
        return said
    flags = run.ledger.age()
    late = said.latency_ms is not None and client.is_stale(said.latency_ms)
    if (late or client.state is not ClientState.LIVE) and flags is FlagAge.FRESH:
        flags = FlagAge.STALE
    state, reason = _state_and_reason(client, flags, refusal, said.answered)
    if not reason and said.recording is not None:
        reason = said.recording.reason
    scanned = run.ledger.scanned
    return replace(said, state=state, reason=reason, flags=flags, scanned=scanned, replaced=run.replaced)


def after_answer(said: LiveStatus, result: FrameResult, latency_ms: float, shown: bool) -> LiveStatus:
    """The status after a result came."""
    engine = result.engine
    return replace(
        said,
        answered=said.answered + 1,
        dropped=said.dropped + (not shown),
        engine=f"{engine.name}; {engine.reason}" if engine.reason else engine.name,
        model=result.model,
        latency_ms=latency_ms,
    )


def refusal_of(result: FrameResult) -> str:
    """Why a frame could not be judged, in words; empty where it could, or may yet be."""
    refusal = None if may_yet_be_judged(result) else result.refusal
    return f"{refusal.reason} {refusal.fix}".strip() if refusal else ""


def _state_and_reason(
    client: DefectClient, flags: FlagAge, refusal: str, answered: int
) -> tuple[LiveState, str]:
    state = _STATES[client.state]
    if state is not LiveState.LIVE:
        return state, client.reason
    if refusal:
        return LiveState.REFUSING, refusal
    if flags is FlagAge.STALE:
        return LiveState.STALE, "results come late or slower than frames"
    return state, "" if answered else "waiting for the first whole frame"
