"""Which addresses may be used: without keys (CURVE) only those of this machine."""

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


def check_host(host: str, with_keys: bool = False) -> str:
    """Give the numeric address to bind.

    Parameters
    ----------
    host
        A loopback address; with keys any address of this machine, ``0.0.0.0`` or ``::`` for all.
    with_keys
        Whether the server tells its clients apart by CURVE keys.

    Raises
    ------
    SecurityError
        An address that other machines can reach, without keys.
    InputError
        With keys, something that is no address.
    """
    if is_loopback(host):
        return "127.0.0.1" if host == "localhost" else host.strip("[]")
    if not with_keys:
        raise SecurityError(
            f"The server will not listen on {host}: other machines could reach it, and it has no CURVE keys to "
            "tell them apart. Make keys with 'stemctx keys server' and give --keys, or use --host 127.0.0.1."
        )
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        raise InputError(
            f"'{host}' is not an address to listen on. Give the address of a network card, or 0.0.0.0 for all of them."
        ) from None


def check_address(address: str, with_keys: bool = False) -> str:
    """Give the address of a server as ZeroMQ wants it, after it was found usable.

    Parameters
    ----------
    address
        ``tcp://127.0.0.1:47100``, or the same without ``tcp://``. With keys also a name: who answers proves by its
        key that it is the server that was meant.
    with_keys
        Whether the client has CURVE keys.

    Raises
    ------
    InputError
        Not an address.
    SecurityError
        A server on another machine, without keys: frames would travel in the clear.
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
        if not with_keys:
            raise SecurityError(
                f"The server at {address} is on another machine, and this client has no CURVE keys: frames would "
                "travel in the clear. Give --key and --server-key (see 'stemctx keys --help'), or use a server on "
                "127.0.0.1."
            )
        if ":" not in host and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
            raise wrong
    numeric = check_host(host) if is_loopback(host) else host
    return f"tcp://[{numeric}]:{port}" if ":" in numeric else f"tcp://{numeric}:{port}"
