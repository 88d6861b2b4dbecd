"""`stemctx keys`: who may use an inference server from another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from realtime.keys.folder import KeyFolder

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="Key folder.", show_default="~/.stemctx/keys, or what STEMCTX_KEYS names"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(
        no_args_is_help=True,
        help=(
            "Keys that let a client use a server on another machine. No secret leaves the machine it was made on.\n\n"
            "On the server:\n\nstemctx keys server\n\nstemctx keys export server gpu.key\n\n"
            "On the microscope:\n\nstemctx keys client scope\n\nstemctx keys export scope scope.key\n\n"
            "Carry each .key file to the other machine. On the server:\n\nstemctx keys admit scope.key"
        ),
    )
    for command in (server, client, admit, revoke, export):
        keys.command()(command)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def server(folder: FolderOption = None) -> None:
    """Make the key of a server.

    stemctx keys server

    stemctx serve --host 0.0.0.0 --keys ~/.stemctx/keys
    """
    made = _folder(folder).make_server()
    _say(f"Made {made}. Clients need a copy: stemctx keys export server gpu.key")


def client(
    name: Annotated[str, typer.Argument(help="Letters, digits, - and _; such as the microscope's.")],
    folder: FolderOption = None,
) -> None:
    """Make the key of a client, on the client's machine.

    In a folder that also holds a server's key the client is admitted at once.

    stemctx keys client scope
    """
    secret = _folder(folder).make_client(name)
    _say(
        f"Made {secret}. Use it with --key. The server needs the public part: stemctx keys export {name} {name}.key"
    )


def admit(
    public_key: Annotated[
        Path, typer.Argument(help="NAME.key of a client; the file's name becomes the client's.")
    ],
    folder: FolderOption = None,
) -> None:
    """Let a client use this server, also one that runs.

    stemctx keys admit scope.key
    """
    name = _folder(folder).admit(public_key)
    _say(f"{name} may connect.")


def revoke(
    name: Annotated[str, typer.Argument(help="As 'stemctx keys list' shows it.")], folder: FolderOption = None
) -> None:
    """Let a client in no more. A running server cuts its connections within two seconds.

    stemctx keys revoke scope
    """
    _folder(folder).revoke(name)
    _say(f"{name} may connect no more.")


def export(
    name: Annotated[str, typer.Argument(help="A client's name, or 'server'.")],
    target: Annotated[Path, typer.Argument(help="File to write, ending in .key.")],
    folder: FolderOption = None,
) -> None:
    """Copy a public key to a file that can be carried to the other machine.

    stemctx keys export server gpu.key
    """
    _folder(folder).export(name, target)
    _say(f"Wrote {target}. It holds no secret.")


def list_keys(folder: FolderOption = None) -> None:
    """Show every key of the folder.

    stemctx keys list
    """
    of = _folder(folder)
    table = Table("name", "what", "public key", title=str(of.path), title_justify="left")
    for entry in of.entries():
        table.add_row(entry.name, entry.kind.value, escape(entry.public))
    Console(width=110).print(table)


def _folder(given: Path | None) -> KeyFolder:
    # Imported here: no other command waits for ZeroMQ.
    from realtime.keys.folder import KeyFolder, default_folder

    return KeyFolder(given if given is not None else default_folder())


def _say(line: str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(line)
