"""Which addresses may be used. Keys (CURVE) will be read and checked here; until then loopback is all there is."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from stemctx_core.errors import InputError, SecurityError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host. Names are not looked up: a resolver's answer can change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_host(host: str) -> str:
    """Give the numeric loopback address to bind; refuse any other.

    Raises
    ------
    SecurityError
        For an address that other machines can reach.
    """
    if not is_loopback(host):
        raise SecurityError(
            f"The server will not listen on {host}: other machines could reach it, and it has no CURVE keys yet to "
            "tell them apart. Use --host 127.0.0.1."
        )
    return "127.0.0.1" if host == "localhost" else host.strip("[]")


def check_address(address: str) -> str:
    """Give the address of a server as ZeroMQ wants it, after it was found usable.

    Parameters
    ----------
    address
        ``tcp://127.0.0.1:47100``, or the same without ``tcp://``.

    Raises
    ------
    InputError
        Not an address.
    SecurityError
        A server on another machine: frames would travel in the clear.
    """
    text = address if "://" in address else f"tcp://{address}"
    wrong = InputError(f"'{address}' is not an address of a server. Write it like tcp://127.0.0.1:47100.")
    if not re.fullmatch(r"tcp://[^/\s@?#]+", text):
        raise wrong
    try:
        host, port = urlsplit(text).hostname, urlsplit(text).port
    except ValueError:
        raise wrong from None
    if not host or not port:
        raise wrong
    if not is_loopback(host):
        raise SecurityError(
            f"The server at {address} is on another machine, and this client has no CURVE keys yet: frames would "
            "travel in the clear. Use a server on 127.0.0.1."
        )
    numeric = check_host(host)
    return f"tcp://[{numeric}]:{port}" if ":" in numeric else f"tcp://{numeric}:{port}"
