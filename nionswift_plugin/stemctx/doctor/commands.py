"""The command `stemctx doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

_STYLES = {"ok": "green", "warning": "yellow", "trouble": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
    server: Annotated[
        str | None,
        typer.Option(help="Address of the server that live flagging is to use; without it, it starts its own."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Topic to look at, as it stands in the report; again for more.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of 'stemctx serve' on this machine to look at.")
    ] = 47100,
    folder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Where recordings would go.", show_default="here"),
    ] = None,
) -> None:
    """Say what is missing for live flagging, and how to mend it.

    stemctx doctor

    For a program: stemctx doctor --only engine --only model --json

    Looks at versions, plug-ins, engines, the model, the instrument, the display, the server, keys and folders; each
    line is ok, a warning or a trouble with its fix. Ends with 0 where live flagging would work (warnings do not
    count), with 1 where it would not or not safely, with 2 where the command cannot be understood.
    """
    from nionswift_plugin.stemctx.doctor.examination import checks, examine, verdict, works
    from stemctx_core.errors import InputError

    wanted = checks(server, port, folder)
    if unknown := set(only or ()) - wanted.keys():
        raise InputError(f"There is no topic '{min(unknown)}'. Choose of: {', '.join(wanted)}.")
    found = examine({topic: check for topic, check in wanted.items() if not only or topic in only})
    if as_json:
        lines = [dataclasses.asdict(f) for f in found]
        typer.echo(json.dumps({"live_flagging": works(found), "findings": lines}, indent=1))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for f in found:
            console.print(f"[{_STYLES[f.status]}]{f.status:<8}[/] {f.topic}: {escape(f.found)}")
            if f.fix:
                console.print(f"         [bold]fix:[/] {escape(f.fix)}")
        console.print(f"[bold]{verdict(found)}[/]")
    if not works(found):
        raise typer.Exit(1)
