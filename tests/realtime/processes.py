"""Server processes with known answers, for tests of what is seen of them from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.realtime.support import PATIENCE_S

SERVER = (sys.executable, "-m", "tests.realtime.support", "--port", "0", "--parent-pipe")


@contextmanager
def server_process(
    *options: str, before: tuple[str, ...] = (), variables: dict[str, str] | None = None
) -> Iterator[str]:
    """Run a server process; give its address."""
    process = subprocess.Popen(
        [*before, *SERVER, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **(variables or {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        word, port = process.stdout.readline().split()
        assert word == "READY"
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.stdout.read()
        process.wait(PATIENCE_S)
        process.stdout.close()
