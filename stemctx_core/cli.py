"""The command `stemctx`; every room brings its own commands through the entry-point group `stemctx.commands`."""

from __future__ import annotations

import importlib.metadata
import sys

import typer
from rich.console import Console
from rich.markup import escape

from stemctx_core.errors import StemctxError

app = typer.Typer(
    name="stemctx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Live, context-aware defect flags for atomic-resolution STEM of 2D materials.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(importlib.metadata.version("stemctx"))
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def build() -> typer.Typer:
    """The application with the commands of every installed room."""
    if not app.registered_commands and not app.registered_groups:
        for entry in sorted(importlib.metadata.entry_points(group="stemctx.commands"), key=lambda e: e.name):
            entry.load()(app)
    return app


def main() -> None:
    """Run the command line; an error raised on purpose is one message and exit code 2."""
    try:
        build()()
    except StemctxError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]stemctx:[/] {escape(str(error))}", highlight=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
