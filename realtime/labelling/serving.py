"""The server of the labelling page: one port on loopback, one event loop, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from realtime.labelling.app import LabelPage
from stemctx_core.errors import InputError, PortInUse
from stemctx_core.labelling.book import open_book

_KEY_BYTES: Final = 24
#: Several browsers keep a few connections each.
_MOST_CONNECTIONS: Final = 128


def serve(path: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve a book until SIGINT or SIGTERM.

    Parameters
    ----------
    path
        The book.
    port
        On 127.0.0.1; 0 takes a free one.
    announce
        Called with the address of the page when it is served.

    Raises
    ------
    InputError, PortInUse
        Before anything is served.
    """
    with open_book(path) as book:
        if not book.sites():
            raise InputError(f"There is no site in {path} to label. Add some with 'stemctx label make'.")
        key = page_key(path)
        with listening(port) as bound:
            taken = int(bound.getsockname()[1])
            config = uvicorn.Config(
                LabelPage(book).app(key, taken),
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=2,
            )
            announce(f"http://127.0.0.1:{taken}/{key}/")
            asyncio.run(uvicorn.Server(config).serve(sockets=[bound]))


def listening(port: int) -> socket.socket:
    """A socket on 127.0.0.1; raise `PortInUse` where another process has it."""
    bound = socket.socket()
    if os.name == "posix":  # elsewhere it would let two servers share a port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(_MOST_CONNECTIONS)
    except OSError as error:
        bound.close()
        raise PortInUse(
            f"Port {port} is taken ({error}). Give another with --port; 0 takes a free one."
        ) from error
    return bound


def page_key(path: Path) -> str:
    """The secret part of the page's address, kept beside the book for its owner alone.

    A page that is open while the server is started anew goes on by itself, since the address stays the same.
    """
    beside = path.with_name(path.name + ".key")
    try:
        with contextlib.suppress(FileExistsError):
            made = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(_KEY_BYTES))
        key = beside.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"The key of the page cannot be kept in {beside}: {error}.") from error
    if len(key) < _KEY_BYTES or not all(c.isalnum() or c in "-_" for c in key) or not key.isascii():
        raise InputError(f"{beside} does not hold the key of a page. Remove it; another one is made then.")
    return key
