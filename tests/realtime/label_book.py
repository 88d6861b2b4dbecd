"""A book of labels made without a frame, and the server of the page in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.crops import patch_picture
from stemctx_core.labelling.records import FrameRecord, SiteRecord
from stemctx_core.results import CalibrationSummary, Decision, FrameIdentity
from tests.realtime.support import context

_SERVE = (
    "import sys; from pathlib import Path; from realtime.labelling.commands import serve; "
    "serve(Path(sys.argv[1]), int(sys.argv[2]))"
)


def make_book(path: Path, sites: int = 16, found: int = 0) -> None:
    """A book of noise; `found` is which candidate the model is said to have found everywhere."""
    frame = FrameRecord(
        "frame.tif", "0" * 64, FrameIdentity("frame.tif", 0, 64, (64, 64)), context(),
        CalibrationSummary(0.25, 3.0, 0.01, 0.4, 1e5, 0.8, 0.78, 0.05, 0.04), 1, f"a model {found}",
    )  # fmt: skip
    made = []
    for n in range(sites):
        rng = np.random.default_rng(n)
        sublattice = list(Sublattice)[n % 2]
        here = [c.species for c in context().candidates if c.sublattice is sublattice]
        picture = patch_picture(rng.random((32, 32)).astype(np.float32))
        made.append(
            SiteRecord(
                y_px=float(n), x_px=0.0, sublattice=sublattice, stratum=f"stratum {found}", inclusion=1 / (1 + found),
                found=here[found % len(here)], probability=1 / (1 + found), decision=list(Decision)[found % 3],
                posterior={species: float(k == found % len(here)) for k, species in enumerate(here)},
                patch=rng.random(1024).astype("<f4").tobytes(), picture=picture, picture_angstrom=8.0,
                surroundings=picture, surroundings_angstrom=40.0,
            )
        )  # fmt: skip
    with Book.create(path, seed="a") as book:
        book.add(frame, made)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`stemctx label serve` in a process; killed and started again at will."""

    def __init__(self, book: Path, port: int = 0) -> None:
        self._command = [sys.executable, "-c", _SERVE, str(book), str(port)]
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> str:
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: lines.put(process.stdout.readline()))  # type: ignore[union-attr]
        reader.start()
        try:
            self.address = lines.get(timeout=120).split()[-1]
        except queue.Empty:
            process.kill()
            raise
        finally:
            reader.join()
        self._process = process
        return self.address

    def end(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Return code, and what it printed last."""
        process = self._process
        if process is None:
            return 0, ""
        self._process = None
        process.send_signal(by)
        told, _ = process.communicate(timeout=60)
        return process.returncode, told


@contextlib.contextmanager
def serving(book: Path, port: int = 0) -> Iterator[Server]:
    server = Server(book, port)
    server.start()
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


def ask(
    address: str,
    path: str = "",
    body: Any = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One request as the page makes it, with some headers otherwise; None leaves a header out."""
    at = urlsplit(address)
    sent = {"Host": at.netloc, "Origin": f"http://{at.netloc}", "Content-Type": "application/json"} | (
        headers or {}
    )
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    link = http.client.HTTPConnection(at.hostname or "", at.port or 0, timeout=300)
    try:
        link.putrequest(method or ("GET" if data is None else "POST"), at.path + path, skip_host=True)
        for name, value in sent.items():
            if value is not None:
                link.putheader(name, value)
        if data is not None and "Content-Length" not in sent and "Transfer-Encoding" not in sent:
            link.putheader("Content-Length", str(len(data)))
        link.endheaders(data)
        reply = link.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        link.close()
