"""A check's dangerous half in a process of its own: a library may end the process it is loaded in, or never return."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any, Final

from stemctx_core.interpreter import python

_MARK: Final = "stemctx-doctor "
_RUN: Final = f"from {__name__} import main; main()"
_MOST_SAID: Final = 300


class ProbeFailed(Exception):
    """The child process gave no answer; the message says what it did instead."""


def ask(topic: str, *arguments: str, timeout_s: float = 60.0) -> Any:
    """What the function `probe` of a topic's module returns in a child process.

    Parameters
    ----------
    topic
        Name of a module beside this one.
    arguments
        Of its `probe`.
    timeout_s
        Then the child is ended.

    Raises
    ------
    ProbeFailed
        It raised, crashed or did not end.
    """
    # -P: a folder named as one of our packages, where the user happens to stand, is not what is installed.
    command = [python(), "-X", "utf8", "-P", "-c", _RUN, topic, *arguments]
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows a console would flash up
        )
    except subprocess.TimeoutExpired:
        raise ProbeFailed(
            f"it did not end within {timeout_s:.0f} s; where it ran for the first time, or this computer is busy, run "
            "'stemctx doctor' again"
        ) from None
    except OSError as error:
        raise ProbeFailed(f"{command[0]} cannot be started: {error}") from None
    for line in ran.stdout.splitlines():
        if line.startswith(_MARK):
            answer = json.loads(line.removeprefix(_MARK))
            if "raised" in answer:
                raise ProbeFailed(answer["raised"])
            return answer["value"]
    raise ProbeFailed(_end(ran.returncode, ran.stderr))


def main() -> None:
    """Run in the child: import the topic, call its probe, write the answer, and end without asking libraries."""
    topic, *arguments = sys.argv[1:]
    try:
        module = importlib.import_module(f"{__package__}.{topic}")
        answer = {"value": module.probe(*arguments)}
    except Exception as error:
        said = (
            str(error)
            if type(error).__module__.startswith("stemctx_core")
            else f"{type(error).__name__}: {error}"
        )
        answer = {"raised": said[:_MOST_SAID]}
    sys.stdout.write(f"\n{_MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)


def _end(code: int, said: str) -> str:
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")[:_MOST_SAID]
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (f" ({last})" if last else "")
    return f"its process ended with code {code}" + (f": {last}" if last else "")
