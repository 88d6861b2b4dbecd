"""The key folder: a server's own key, the keys made here, the clients that are admitted and those that are no more.

server.key, server.key_secret     the server's own
own/NAME.key, NAME.key_secret     clients' keys that were made here
clients/NAME.key                  public keys that the server admits
revoked/NAME.key                  public keys that it admits no more, whatever stands in clients
"""

from __future__ import annotations

import os
import re
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import zmq.auth

from realtime.keys.certificates import PUBLIC_SUFFIX, SECRET_SUFFIX, check_private, read_public
from stemctx_core.errors import InputError, SecurityError
from stemctx_core.whole_files import write_whole

_SERVER: Final = "server"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class KeyKind(StrEnum):
    """What a key in the folder is for."""

    SERVER = "server"
    OWN = "own"
    ADMITTED = "admitted"
    REVOKED = "revoked"


class KeyEntry(msgspec.Struct, frozen=True):
    """One key, as `stemctx keys list` shows it."""

    name: str
    kind: KeyKind
    public: str


def default_folder() -> Path:
    """``~/.stemctx/keys``, or what STEMCTX_KEYS names."""
    return Path(os.environ.get("STEMCTX_KEYS") or Path.home() / ".stemctx" / "keys")


class KeyFolder:
    """Makes, admits, revokes and lists keys.

    Parameters
    ----------
    path
        Made with the first key, for its user alone (mode 0700).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make_server(self) -> Path:
        """Make the server's key; give its public file."""
        return self._make(self.path, _SERVER)

    def make_client(self, name: str) -> Path:
        """Make a client's key; give its secret file. A folder with a server's key admits it at once."""
        self._check_name(name)
        if (self._clients / (name + PUBLIC_SUFFIX)).exists() or self._was_revoked(name):
            raise InputError(f"The name {name} is taken in {self.path}. Choose another.")
        public = self._make(self._own, name)
        if (self.path / (_SERVER + SECRET_SUFFIX)).exists():
            self.admit(public)
        return public.with_suffix(SECRET_SUFFIX)

    def admit(self, public_file: Path) -> str:
        """Let the client with this public key connect; give its name, that of the file.

        Raises
        ------
        SecurityError
            A secret file, or a key that was revoked.
        """
        name = public_file.name.removesuffix(PUBLIC_SUFFIX)
        self._check_name(name)
        if public_file.suffix != PUBLIC_SUFFIX or b"secret-key" in _bytes_of(public_file):
            raise SecurityError(
                f"{public_file} is not a public key. A secret must not travel: on the client's machine run "
                f"'stemctx keys export {name} {name}{PUBLIC_SUFFIX}' and bring that file."
            )
        public = read_public(public_file)
        if public in public_keys(self._revoked).values():
            raise SecurityError(f"The key in {public_file} was revoked. Have the client make a new one.")
        target = self._clients / (name + PUBLIC_SUFFIX)
        if target.exists() and read_public(target) != public:
            raise InputError(f"Another key is admitted as {name}. Revoke it first, or rename the file.")
        self._make_private(self._clients)
        write_whole(target, _bytes_of(public_file))
        return name

    def revoke(self, name: str) -> None:
        """Admit a client no more; a running server cuts its connections within two seconds."""
        source = self._clients / (name + PUBLIC_SUFFIX)
        if not source.is_file():
            raise InputError(f"No client is admitted as '{name}'. See: stemctx keys list")
        self._make_private(self._revoked)
        os.replace(source, self._free(self._revoked, name))

    def export(self, name: str, target: Path) -> None:
        """Copy a public key to where it can be carried from; `name` may be ``server``."""
        folder = self.path if name == _SERVER else self._own
        source = folder / (name + PUBLIC_SUFFIX)
        if not source.is_file():
            raise InputError(f"No key {name} was made in {self.path}. See: stemctx keys list")
        if target.exists():
            raise InputError(f"{target} exists. Choose another name, or delete it first.")
        write_whole(target, _bytes_of(source))

    def entries(self) -> list[KeyEntry]:
        """Every key of the folder."""
        found = [KeyEntry(n, KeyKind.SERVER, k.decode()) for n, k in public_keys(self.path).items()]
        for folder, kind in (
            (self._own, KeyKind.OWN), (self._clients, KeyKind.ADMITTED), (self._revoked, KeyKind.REVOKED),
        ):  # fmt: skip
            found += [KeyEntry(n, kind, k.decode()) for n, k in sorted(public_keys(folder).items())]
        return found

    @property
    def _own(self) -> Path:
        return self.path / "own"

    @property
    def _clients(self) -> Path:
        return self.path / "clients"

    @property
    def _revoked(self) -> Path:
        return self.path / "revoked"

    def _make(self, folder: Path, name: str) -> Path:
        public, secret = folder / (name + PUBLIC_SUFFIX), folder / (name + SECRET_SUFFIX)
        if public.exists() or secret.exists():
            raise InputError(f"{folder} holds a key of {name} already. Delete both of its files for a new one.")
        self._make_private(folder)
        # In a folder of its own first: the secret is closed to others before it has its name.
        with tempfile.TemporaryDirectory(dir=folder) as making:
            made_public, made_secret = (Path(p) for p in zmq.auth.create_certificates(making, name))
            made_secret.chmod(0o600)
            os.replace(made_secret, secret)
            os.replace(made_public, public)
        check_private(secret)
        return public

    def _make_private(self, folder: Path) -> None:
        for place in (self.path, folder):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _check_name(self, name: str) -> None:
        if name == _SERVER or not _NAME.fullmatch(name):
            raise InputError(
                f"'{name}' cannot name a client. Take letters, digits, - and _, and not '{_SERVER}'."
            )

    def _was_revoked(self, name: str) -> bool:
        return (self._revoked / (name + PUBLIC_SUFFIX)).exists()

    @staticmethod
    def _free(folder: Path, name: str) -> Path:
        numbers = (f"-{n}" if n else "" for n in range(10_000))
        return next(p for p in (folder / (name + n + PUBLIC_SUFFIX) for n in numbers) if not p.exists())


def public_keys(folder: Path) -> dict[str, bytes]:
    """Name to public key of every readable certificate in a folder; nothing where there is no folder."""
    keys = {}
    for path in folder.glob("*" + PUBLIC_SUFFIX):
        try:
            keys[path.name.removesuffix(PUBLIC_SUFFIX)] = read_public(path)
        except SecurityError:
            continue  # one damaged file must not lock the others out, nor let anyone in
    return keys


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16_384)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the name.") from None
