"""The command `stemctx top`: a running server, looked at."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from realtime.keys.options import KeyOption, ServerKeyOption, given_keys


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(top)


def top(
    address: Annotated[str, typer.Argument(help="Of a running 'stemctx serve'.")] = "tcp://127.0.0.1:47100",
    interval_s: Annotated[float, typer.Option(min=0.1, max=3600.0, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a look, with the counts of every histogram.")
    ] = False,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long to wait for an answer.")] = 5.0,
) -> None:
    """Watch a server: latency of each stage, frames, memory, and which model judges; until Ctrl-C.

    stemctx top tcp://127.0.0.1:47100

    For scripts: stemctx top --once --json. The view is a client of the server and counted as one.
    """
    import time

    import msgspec
    from rich.live import Live

    from realtime.client import DefectClient
    from realtime.keys.certificates import load_client_keys
    from realtime.watching.top import view

    files = given_keys(address, key, server_key)
    keys = None if files is None else load_client_keys(*files)
    console = Console(highlight=False)
    with DefectClient(address, keys=keys) as client:
        status = client.status(timeout_s)
        if as_json:
            typer.echo(json.dumps(msgspec.to_builtins(status)))
            while not once:
                time.sleep(interval_s)
                typer.echo(json.dumps(msgspec.to_builtins(client.status(timeout_s))))
        elif once:
            console.print(view(address, status, None))
        else:
            with Live(view(address, status, None), console=console, screen=console.is_terminal) as live:
                while True:
                    time.sleep(interval_s)
                    before, status = status, client.status(timeout_s)
                    live.update(view(address, status, before))
