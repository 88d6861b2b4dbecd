"""Who may talk to the page: a browser on this machine that was given its address, and no page of anybody else's."""

from __future__ import annotations

import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: A body holds one answer.
MOST_BODY_BYTES: Final = 4096

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Refuses what does not come from the page itself, before anything else reads it.

    The first part of the path is a secret, so that another user of this machine who finds the port finds nothing.
    Host stops a page elsewhere whose name is made to mean this machine (DNS rebinding); Origin and Sec-Fetch-Site
    stop one that posts here.

    Parameters
    ----------
    app
        What is guarded; it sees paths without the secret.
    key
        The secret.
    port
        Where the server listens on 127.0.0.1.
    """

    def __init__(self, app: ASGIApp, key: str, port: int) -> None:
        self._app = app
        self._key = key
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI); anything but HTTP is left alone."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(Headers(scope=scope), scope)
        app = self._app if refusal is None else PlainTextResponse(refusal[1], refusal[0])
        if refusal is None:
            scope = {**scope, "path": scope["path"].removeprefix(f"/{self._key}"), "root_path": ""}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await app(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if host not in self._hosts:
            return 421, "This page is served at 127.0.0.1 only."
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "Only the page itself may ask."
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return 403, "Only the page itself may ask."
        first = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(first.encode(), self._key.encode()):
            return 404, "Nothing here. Open the address that 'stemctx label serve' printed."
        if scope["method"] == "POST":
            if origin is None or headers.get("content-type") != "application/json":
                return 403, "Only the page itself may ask."
            length = headers.get("content-length", "")
            if not (length.isascii() and length.isdigit()):
                return 411, "How long it is has to be said."
            if int(length) > MOST_BODY_BYTES:
                return 413, f"No more than {MOST_BODY_BYTES} bytes."
        return None
