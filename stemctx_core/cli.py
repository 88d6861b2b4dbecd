"""The command `stemctx`; every room brings its own commands through the entry-point group `stemctx.commands`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import sys
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from stemctx_core.errors import InputError, StemctxError

#: Our own top packages: where one is not found, another of its name hides it.
_ROOMS: Final = ("realtime", "sim", "nionswift_plugin")

app = typer.Typer(
    name="stemctx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Live, context-aware defect flags for atomic-resolution STEM of 2D materials.\n\n"
        "The simulated microscope, scanned and flagged:\n\nstemctx live\n\n"
        "Where something does not work:\n\nstemctx doctor"
    ),
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
            try:
                register = entry.load()
            except ModuleNotFoundError as error:
                _stand_in(entry.name, error.name or str(error))
            else:
                register(app)
    return app


def _stand_in(name: str, package: str) -> None:
    """Keep a command whose room lacks a package, so that it tells what to mend and the others still work."""
    top = package.partition(".")[0]

    @app.command(name, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def explain() -> None:
        """Not available: a package that it needs is not installed."""
        if top in _ROOMS:
            raise InputError(_hidden(name, top))
        raise InputError(
            f"'stemctx {name}' needs the Python package '{package}', which is not installed. "
            'Run: pip install "stemctx[all]"'
        )


def _hidden(name: str, room: str) -> str:
    """Say why a package of our own cannot be found, though the command line could."""
    spec = importlib.util.find_spec(room)
    if spec is None or spec.origin is None:
        return f"'stemctx {name}' is not complete: its part '{room}' is missing. Install stemctx again."
    said = f"'stemctx {name}' cannot be found: {spec.origin} hides the part '{room}' of stemctx."
    if room == "nionswift_plugin":
        return (
            f"{said} Nion Swift lists no plug-in of ours either. Delete that file: the folders of Nion's plug-ins "
            "have none, so that all of them are found."
        )
    return f"{said} Remove that package, or install stemctx into an environment of its own."


def main() -> None:
    """Run the command line; an error raised on purpose is one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where output goes into a file on Windows it has the letters of one language only: ? stands for the others.
            stream.reconfigure(errors="replace")
    try:
        build()()
    except StemctxError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]stemctx:[/] {escape(str(error))}", highlight=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
