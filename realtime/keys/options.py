"""The options of every command that may use a server with keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemctx_core.errors import InputError

KeyOption = Annotated[Path | None, typer.Option(help="Secret key file of this client, for a server with keys.")]
ServerKeyOption = Annotated[Path | None, typer.Option(help="Public key file of that server.")]


def given_keys(server: str | None, key: Path | None, server_key: Path | None) -> tuple[Path, Path] | None:
    """Key files of a client, where there are any; raise `InputError` where one is missing."""
    if key is None and server_key is None:
        return None
    if key is None or server_key is None or server is None:
        raise InputError("A server with keys needs both --key and --server-key, and its address.")
    return key, server_key
