"""CURVE keys of a server and of its clients, read from certificate files of ``zmq.auth`` that nobody else can read.

Every key is a pair of 40 printable characters. The public part stands in ``NAME.key`` and may be given away; the
secret part stands in ``NAME.key_secret`` and stays on the machine that it was made on.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
import zmq.auth
from zmq.utils import z85

from stemctx_core.errors import SecurityError

#: ZeroMQ asks who may connect under this name.
ZAP_DOMAIN: Final = "stemctx"
PUBLIC_SUFFIX: Final = ".key"
SECRET_SUFFIX: Final = ".key_secret"
_KEY_LENGTH: Final = 40
#: A certificate is a few lines; what is larger is something else.
_MOST_BYTES: Final = 16_384


@dataclass(frozen=True)
class ClientKeys:
    """What a client needs to talk to a server with keys.

    Attributes
    ----------
    server_public
        Of the server that is meant; another one cannot answer.
    public, secret
        The client's own.
    """

    server_public: bytes
    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class ServerKeys:
    """A server's own key, and the folder that says whom it admits (`realtime.keys.folder.KeyFolder`)."""

    public: bytes
    secret: bytes = field(repr=False)
    folder: Path


def load_client_keys(key: Path, server_key: Path) -> ClientKeys:
    """Read a client's secret file and its server's public file.

    Raises
    ------
    SecurityError
        A file that is missing, holds no key, or can be read by others.
    """
    public, secret = read_secret(key)
    return ClientKeys(read_public(server_key), public, secret)


def load_server_keys(folder: Path) -> ServerKeys:
    """Read the server's key from its key folder; raise `SecurityError` as `load_client_keys` does."""
    path = folder / ("server" + SECRET_SUFFIX)
    if not path.is_file():
        raise SecurityError(
            f"There is no server key in {folder}. Make one: stemctx keys server --folder {folder}"
        )
    public, secret = read_secret(path)
    return ServerKeys(public, secret, folder)


def read_public(path: Path) -> bytes:
    """Public key in a certificate file."""
    public, _ = _read(path)
    return public


def read_secret(path: Path) -> tuple[bytes, bytes]:
    """Public and secret key in a secret certificate file that nobody else can read."""
    check_private(path)
    public, secret = _read(path)
    if secret is None:
        raise SecurityError(f"{path} holds no secret key. Give the file that ends in {SECRET_SUFFIX}.")
    if zmq.curve_public(secret) != public:
        raise SecurityError(
            f"The two keys in {path} do not belong together. Make a new pair: stemctx keys client"
        )
    return public, secret


def check_private(path: Path) -> None:
    """Refuse a secret file, or its folder, that others can use.

    On Windows the permissions of files are lists that Python does not read: only the presence of the file is
    checked there. Keep it in your own user folder, which other users cannot read by default.

    Raises
    ------
    SecurityError
        With the command that mends it.
    """
    if not path.is_file():
        raise SecurityError(f"There is no key file {path}. Make keys with: stemctx keys client NAME")
    if os.name == "nt":
        return
    for place, wanted in ((path, 0o600), (path.resolve().parent, 0o700)):
        found = place.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid():
            raise SecurityError(f"{place} belongs to another user. Secret keys have to be your own: chown it.")
        if mode & 0o077:
            raise SecurityError(
                f"{place} is open to others (mode {mode:04o}), so its keys are no secret. Run: chmod {wanted:o} {place}"
            )


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large for a key file")
        public, secret = zmq.auth.load_certificate(path)
        if not all(key is None or _is_key(key) for key in (public, secret)):
            raise ValueError("a key is not 40 printable characters")
    except (OSError, ValueError) as error:
        raise SecurityError(f"{path} cannot be read as a key file: {error}. Export it again.") from None
    return public, secret


def _is_key(key: bytes) -> bool:
    if len(key) != _KEY_LENGTH:
        return False
    try:
        z85.decode(key)
    except (KeyError, struct.error):  # another character; a group beyond 32 bits
        return False
    return True
