"""What takes too long for the window's thread, one after the other on a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from nionswift_plugin.stemctx.threads.guarded import guarded
from stemctx_core.errors import InputError

_MOST_WAITING = 64
_JOIN_S = 10.0


class Background:
    """Does one task after the other.

    Parameters
    ----------
    name
        Of the thread.
    failed
        Called on that thread with words of what went wrong.
    """

    def __init__(self, name: str, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._name = name
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def do(self, task: Callable[[], None]) -> None:
        """Have a task done soon.

        Raises
        ------
        InputError
            Where too many wait already.
        """
        if self._closed.is_set():
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            raise InputError(f"{_MOST_WAITING} tasks wait already. Wait until they are done.") from None

    def close(self) -> None:
        """Do nothing more, and wait for the task that is under way."""
        self._closed.set()
        if self._thread is not None:
            while True:
                try:
                    self._tasks.put_nowait(None)
                    break
                except queue.Full:
                    self._tasks.get_nowait()
            self._thread.join(_JOIN_S)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._closed.is_set():
            guarded("A task of the window", task, self._failed)
