"""Whether a server could listen here, and who has the port of `stemctx serve`."""

from __future__ import annotations

import socket
from typing import Any, Final

from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, ok, trouble, warning

TOPIC: Final = "server"
#: Of `stemctx serve`.
PORT: Final = 47100
#: In what a server with keys answers to a client without.
_WANTS_KEYS: Final = "wants keys"


def check(address: str | None = None, port: int = PORT) -> list[Finding]:
    """Whether live flagging would find or could start a server.

    Parameters
    ----------
    address
        Of a server that is to be used; without one live flagging starts its own on a free port.
    port
        Of `stemctx serve` on this machine, looked at where no address is given.
    """
    if address is not None:
        return [_asked(address)]
    if error := _cannot_listen():
        return [
            trouble(
                TOPIC,
                f"no port of 127.0.0.1 can be opened ({error})",
                "Allow Python to use the network of this machine itself in the firewall.",
            )
        ]
    own = "live flagging starts a server of its own on a free port"
    if not _somebody(port):
        return [ok(TOPIC, f"{own}; port {port} is free for 'stemctx serve'")]
    try:
        said = ask("server", f"tcp://127.0.0.1:{port}", timeout_s=20.0)
    except ProbeFailed as error:
        return [
            warning(
                TOPIC,
                f"port {port} is taken by {_owner(port)}, which is no stemctx server that this program can use "
                f"({error}); {own}",
                f"End that program, or start yours elsewhere: stemctx serve --port {port + 1}",
            )
        ]
    return [ok(TOPIC, f"a stemctx server answers on port {port}: {_told(said)}")]


def probe(address: str) -> dict[str, Any]:
    """Ask a server for its status; for a child process."""
    from realtime.client import DefectClient

    with DefectClient(address) as client:
        status = client.status(5.0)
    return {"model": status.model, "engine": status.engine.name, "uptime_s": status.uptime_s}


def _asked(address: str) -> Finding:
    try:
        return ok(TOPIC, f"{address} answers: {_told(ask('server', address, timeout_s=20.0))}")
    except ProbeFailed as error:
        if _WANTS_KEYS in str(error):
            return warning(
                TOPIC,
                f"a stemctx server runs at {address}; it admits clients with keys only, and this report has none",
                f"See whether it admits you: stemctx live --frames 1 --server {address} --key FILE --server-key FILE",
            )
        port = address.rpartition(":")[2]
        local = "127.0.0.1" in address or "localhost" in address
        taken = (
            f" (the port is taken by {_owner(int(port))})"
            if local and port.isdigit() and _somebody(int(port))
            else ""
        )
        return trouble(
            TOPIC,
            f"no stemctx server answers at {address}{taken}: {error}",
            f"Start one there: stemctx serve --port {port}, or choose another port if that one is taken.",
        )


def _told(said: dict[str, Any]) -> str:
    return f"{said['model']}, {said['engine']}, up {said['uptime_s'] / 60:.0f} min"


def _cannot_listen() -> str:
    try:
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
    except OSError as error:
        return str(error.strerror or error)
    return ""


def _somebody(port: int) -> bool:
    with socket.socket() as asked:
        asked.settimeout(2.0)
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _owner(port: int) -> str:
    try:
        import psutil

        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except Exception:  # psutil's own errors, or none to import: whose it is, is only said where it is known
        return "another program"
    return "another program"
