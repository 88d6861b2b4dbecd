"""Somebody's wish to end, from any thread: heard by what acquires, and by what lets the beam through."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from realtime.autonomy.limits import Stopped


class Abort:
    """Set from any thread. Within `kept` it holds to the end of that, otherwise until it was heard.

    Attributes
    ----------
    keeping
        Whether somebody is within `kept`.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.keeping = False

    @property
    def is_set(self) -> bool:
        """Whether somebody asked for an end, and nobody has heard it yet."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask for an end."""
        self._event.set()

    def raise_if_set(self) -> None:
        """Raise `Stopped` where somebody asked for an end."""
        if self._event.is_set():
            if not self.keeping:
                self._event.clear()
            raise Stopped("The scan was stopped.")

    def wait(self, seconds: float) -> None:
        """Sleep; raise `Stopped` as soon as somebody asks for an end."""
        self._event.wait(seconds)
        self.raise_if_set()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """From now on an end that was asked for holds, until this is left; what was asked for before does not."""
        self._event.clear()
        self.keeping = True
        try:
            yield
        finally:
            self.keeping = False
