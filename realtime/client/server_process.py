"""The process of a local server: how it is started, what it says, and how it is made to end."""

from __future__ import annotations

import contextlib
import logging
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

logger = logging.getLogger(__name__)

_STOP_S: Final = 3.0


class ServerProcess:
    """A program that prints ``READY <port>`` and then a line a second, and that ends when its input does.

    It stands in a process group of its own: Ctrl-C in a terminal reaches every process of the foreground group, and
    it is for the parent to end its server, with the frame under way, not for the terminal.

    Parameters
    ----------
    command
        Program and arguments.
    words
        Takes what it writes to standard error, line by line.

    Attributes
    ----------
    lines
        What it prints, line by line; None where its output ended.

    Raises
    ------
    OSError
        The program cannot be run.
    """

    def __init__(self, command: Sequence[str], words: deque[str]) -> None:
        apart: dict[str, Any]
        if sys.platform == "win32":
            # Nion Swift has no console: a window of one would open for the server, and end it when it is closed.
            apart = {
                "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP
                | subprocess.BELOW_NORMAL_PRIORITY_CLASS
                | subprocess.CREATE_NO_WINDOW
            }
        else:
            apart = {"process_group": 0}
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **apart
        )
        self.pid = self._process.pid
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._words = words
        self._listeners = [
            threading.Thread(target=listen, name=name, daemon=True)
            for listen, name in ((self._listen, "stemctx-server-lines"), (self._note, "stemctx-server-log"))
        ]
        for listener in self._listeners:
            listener.start()

    def kill(self) -> None:
        """End it at once, also where it is stopped or hangs."""
        self._process.kill()

    def end(self) -> None:
        """Close its input; after three seconds it is terminated, after three more killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended by itself
            self._process.stdin.close()
        for harder in (self._process.terminate, self._process.kill, None):
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                if harder is not None:
                    harder()
            else:
                return

    def ended(self) -> int:
        """Wait for its end, free everything, and give its exit code."""
        code = self._process.wait()
        for listener in self._listeners:
            listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line.decode(errors="replace").strip())
        self.lines.put(None)

    def _note(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            words = line.decode(errors="replace").rstrip()
            if words:
                self._words.append(words.removeprefix("stemctx: "))
                logger.info("server: %s", words)
