"""Sessions that scripts have open in this process, so that the panel can stop them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from nion.utils import Event

if TYPE_CHECKING:
    from realtime.autonomy.session import Session

__all__ = ["OPEN_SESSIONS", "OpenSessions"]


class OpenSessions:
    """Knows the open sessions; may be used from any thread.

    Attributes
    ----------
    changed
        Fires, on the thread of the script, when a session has opened or closed.
    """

    def __init__(self) -> None:
        self.changed: Any = Event.Event()
        self._lock = threading.Lock()
        self._sessions: list[Session] = []

    def __len__(self) -> int:
        with self._lock:
            return len(self._sessions)

    @contextlib.contextmanager
    def holding(self, session: Session) -> Iterator[Session]:
        """Count a session in while it is open."""
        with self._lock:
            self._sessions.append(session)
        self.changed.fire()
        try:
            yield session
        finally:
            with self._lock:
                self._sessions.remove(session)
            self.changed.fire()

    def stop_all(self) -> int:
        """Stop every open session; the beam is off when this returns.

        Returns
        -------
        int
            How many were stopped.
        """
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.stop()
        return len(sessions)


OPEN_SESSIONS: Final = OpenSessions()
