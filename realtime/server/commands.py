"""The commands `stemctx serve` and `stemctx analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from realtime.engines.select import EngineKind
from stemctx_core.context import ImagingContext, Quantity, Source, known
from stemctx_core.errors import InputError

BundleOption = Annotated[
    Path | None, typer.Option(help="Folder of a model bundle; the shipped model where left out.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        help=f"What runs the model: auto, {', '.join(EngineKind)}; ':fp16' behind it for half precision."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(analyze)
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


def analyze(
    image: Annotated[Path, typer.Argument(help="A micrograph: .tif, .tiff or .npy.")],
    host: Annotated[str, typer.Option(help="Formula of the monolayer, such as WSe2.")],
    candidates: Annotated[
        list[str] | None,
        typer.Option(help="Element looked for on the metal site; again for more, or with commas between."),
    ] = None,
    high_tension_kv: Annotated[float | None, typer.Option(help="Beam energy (kV).")] = None,
    convergence_mrad: Annotated[float | None, typer.Option(help="Convergence semi-angle of the probe.")] = None,
    inner_mrad: Annotated[
        float | None, typer.Option(help="Inner collection semi-angle of the detector.")
    ] = None,
    outer_mrad: Annotated[
        float | None, typer.Option(help="Outer collection semi-angle of the detector.")
    ] = None,
    pixel_size_angstrom: Annotated[
        float | None, typer.Option(help="Pixel size (Å); the file's own where left out.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Table to write (CSV), one row a site.")] = Path("results.csv"),
    overlay: Annotated[Path | None, typer.Option(help="Picture to write (PNG).")] = None,
    bundle: BundleOption = None,
    engine: EngineOption = "auto",
    server: Annotated[
        str | None, typer.Option(help="Address of a running 'stemctx serve', such as tcp://127.0.0.1:47100.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Secret key file of this client, for a server with keys.")
    ] = None,
    server_key: Annotated[Path | None, typer.Option(help="Public key file of that server.")] = None,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for that server (s).")] = 60.0,
) -> None:
    """Judge every lattice site of one micrograph.

    stemctx analyze frame.tif --host WSe2 --candidates Ti --high-tension-kv 80 --convergence-mrad 30
    --inner-mrad 50 --outer-mrad 120 --output results.csv --overlay overlay.png

    Without the energy or an angle it is judged for all that are plausible, and that is said.
    """
    from realtime.offline import OfflineRequest, judge_file

    def given(value: float | None, option: str) -> Quantity:
        return known(value, Source.USER, option, f"{option} was not given")

    context = ImagingContext(
        host=host,
        dopants=tuple(e.strip() for part in candidates or () for e in part.split(",") if e.strip()),
        high_tension_kv=given(high_tension_kv, "--high-tension-kv"),
        convergence_semi_angle_mrad=given(convergence_mrad, "--convergence-mrad"),
        inner_mrad=given(inner_mrad, "--inner-mrad"),
        outer_mrad=given(outer_mrad, "--outer-mrad"),
        pixel_size_angstrom=given(pixel_size_angstrom, "--pixel-size-angstrom"),
        channel=image.name,
    )
    if server is not None and (bundle is not None or engine != "auto"):
        raise InputError(
            "The server has its own model and engine. Leave --bundle and --engine out with --server."
        )
    request = OfflineRequest(
        image,
        context.validated(),
        output,
        overlay,
        bundle,
        engine,
        server,
        timeout_s,
        given_keys(server, key, server_key),
    )
    if judge_file(request, _console()).refusal is not None:
        raise typer.Exit(2)


def given_keys(server: str | None, key: Path | None, server_key: Path | None) -> tuple[Path, Path] | None:
    """Key files of a client, where there are any; raise `InputError` where one is missing."""
    if key is None and server_key is None:
        return None
    if key is None or server_key is None or server is None:
        raise InputError("A server with keys needs --server, --key and --server-key together.")
    return key, server_key


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)
