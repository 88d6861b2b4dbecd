"""Who is told what becomes of the frames that an exchange sends."""

from __future__ import annotations

from typing import Protocol

from realtime.client.mailbox import Ticket
from realtime.client.states import AgeLimits, ClientState
from realtime.keys.certificates import ClientKeys
from stemctx_core.results import FrameResult


class Owner(Protocol):
    """Who is told what happens: the client. Every method is called on the I/O thread."""

    address: str
    keys: ClientKeys | None
    age_limits: AgeLimits

    @property
    def state(self) -> ClientState:
        """How the server was last said to be."""

    def count(self, name: str) -> None:
        """Raise a counter of `ClientCounters`."""

    def became(self, state: ClientState, reason: str) -> None:
        """Take the new state."""

    def answered(self, ticket: Ticket, result: FrameResult) -> None:
        """Take a result."""

    def dropped(self, ticket: Ticket, why: str) -> None:
        """Take word that a live frame was let go because newer ones are wanted."""

    def failed(self, ticket: Ticket, error: Exception) -> None:
        """Take word that a frame gets no result."""
