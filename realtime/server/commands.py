"""The command `stemctx serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from realtime.engines.options import BundleOption, EngineOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 47100,
    bundle: BundleOption = None,
    engine: EngineOption = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of the CPU engine; all cores but one by default.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Key folder ('stemctx keys'): only clients that it admits are served.")
    ] = None,
    log_json: Annotated[
        Path | None,
        typer.Option(
            envvar="STEMCTX_LOG_JSON", help="Log to this file: JSON lines, at most four times 16 MiB."
        ),
    ] = None,
    prometheus_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Metrics for Prometheus on this port, on this machine only."),
    ] = None,
) -> None:
    """Judge frames for programs on this machine, or with keys for other machines, until Ctrl-C.

    The plug-in and 'stemctx live' start a server of their own. Start one here to share it between programs, or to
    keep the model warm for many files:

    stemctx serve --port 47100

    stemctx analyze frame.tif --host WSe2 --candidates Ti --server tcp://127.0.0.1:47100

    For other machines: stemctx serve --host 0.0.0.0 --keys ~/.stemctx/keys (see 'stemctx keys --help').
    """
    from realtime.server import DefectServer, launch

    console = _console()

    def ready(server: DefectServer) -> None:
        console.print(f"Serving on tcp://{host}:{server.port}. Stop with Ctrl-C.")

    settings = launch.ServeSettings(
        host=host, port=port, bundle=bundle, engine=engine, threads=threads, keys=keys,
        log_json=log_json, prometheus_port=prometheus_port,
    )  # fmt: skip
    if not launch.serve(settings, ready):
        launch.end_now()
    console.print("Stopped.")


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
