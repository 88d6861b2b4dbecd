"""Ctrl-C as something that a loop looks at, not something that breaks out of whatever is under way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.noted = False


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Note the first Ctrl-C inside this block; the second raises `KeyboardInterrupt` as always.

    An exception between any two instructions can leave a lock taken, or be lost where Python runs a callback that
    nothing may leave. Outside the main thread nothing is noted, because no signal comes there.
    """
    state = Interrupts()

    def note(number: int, frame: FrameType | None) -> None:
        if state.noted:
            raise KeyboardInterrupt
        state.noted = True

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)
