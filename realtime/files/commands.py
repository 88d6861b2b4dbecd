"""The command `stemctx analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from realtime.engines.options import BundleOption, EngineOption
from realtime.keys.options import KeyOption, ServerKeyOption, given_keys
from stemctx_core.errors import InputError
from stemctx_core.reading.frame_options import (
    CandidatesOption,
    ConvergenceOption,
    HighTensionOption,
    HostOption,
    InnerOption,
    OuterOption,
    PixelSizeOption,
    RecursiveOption,
    listed_elements,
)

if TYPE_CHECKING:
    from stemctx_core.reading.declared import DetectorAngles


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(analyze)


def analyze(
    images: Annotated[
        list[Path],
        typer.Argument(help="Micrographs, folders or patterns: TIFF, dm3, dm4, emd, ser, ndata, Nion h5, npy."),
    ],
    host: HostOption = None,
    candidates: CandidatesOption = None,
    high_tension_kv: HighTensionOption = None,
    convergence_mrad: ConvergenceOption = None,
    inner_mrad: InnerOption = None,
    outer_mrad: OuterOption = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="Detector to be judged, by its name in the file or in the file's name, with its angles: "
            "HAADF=70-200; again for more."
        ),
    ] = None,
    together: Annotated[
        bool | None,
        typer.Option("--together/--apart", help="Judge the detectors of one scan by all of them together."),
    ] = None,
    pixel_size_angstrom: PixelSizeOption = None,
    dwell_us: Annotated[float | None, typer.Option(help="Dwell time on a pixel, all passes (µs).")] = None,
    probe_current_pa: Annotated[float | None, typer.Option(help="Beam current (pA).")] = None,
    recursive: RecursiveOption = False,
    stack: Annotated[
        str,
        typer.Option(
            help="Frames of a stack: each by itself, their sum, or one field, drift followed and evidence added up."
        ),
    ] = "each",
    output: Annotated[Path, typer.Option(help="Table to write, one row a site: .csv, or .parquet.")] = Path(
        "results.csv"
    ),
    summary: Annotated[
        Path | None,
        typer.Option(help="Table of images to write.", show_default="results_images.csv, of several images"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page to write (HTML): maps, densities, entropies, every flag.")
    ] = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="Flags of an image in the report, at most.")] = 200,
    overlay: Annotated[Path | None, typer.Option(help="Picture of one image to write (PNG).")] = None,
    bundle: BundleOption = None,
    engine: EngineOption = "auto",
    server: Annotated[
        str | None, typer.Option(help="Address of a running 'stemctx serve', such as tcp://127.0.0.1:47100.")
    ] = None,
    key: KeyOption = None,
    server_key: ServerKeyOption = None,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for that server (s).")] = 60.0,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="How often a species or role is expected, such as vac_Se=0.03; may be repeated."),
    ] = None,
    estimate_prevalence: Annotated[
        bool, typer.Option("--estimate-prevalence", help="Find each image's own rates, and judge by them.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Solve for all columns at once: seconds an image.")
    ] = False,
) -> None:
    """Judge every lattice site of micrographs, one or a folder of them.

    stemctx analyze frame.dm4 --host WSe2 --candidates Ti --inner-mrad 50 --outer-mrad 120 --overlay overlay.png

    A folder, with a page to read:

    stemctx analyze session/ -r --host WSe2 --candidates Ti --output sites.parquet --report report.html

    Two detectors of one scan by both of them:

    stemctx analyze scan.emd --host WSe2 --detector HAADF=70-200 --detector MAADF=40-70 --together

    What an option leaves out is taken from frame.toml beside frame.dm4, from stemctx.toml in its folder, or from the
    file's own metadata; where they differ, that is told. What nobody says is averaged over what is plausible.

    Exit code 0: every image was judged; 2: none; 3: some were refused, and it is told which.
    """
    from realtime.files.batch import Stack
    from realtime.files.judging import JudgeSettings
    from realtime.files.running import Request, run
    from realtime.files.writing import Answers
    from stemctx_core.reading.declared import Declared

    if stack not in list(Stack):
        raise InputError(f"'{stack}' is no way to take a stack. Give --stack {', '.join(Stack)}.")
    options = Declared(
        host=host,
        candidates=listed_elements(candidates),
        high_tension_kv=high_tension_kv,
        convergence_mrad=convergence_mrad,
        inner_mrad=inner_mrad,
        outer_mrad=outer_mrad,
        pixel_size_angstrom=pixel_size_angstrom,
        dwell_us=dwell_us,
        probe_current_pa=probe_current_pa,
        detectors=dict(_detector(text) for text in detector or ()),
        together=together,
    )
    request = Request(
        paths=tuple(images),
        options=options,
        judge=JudgeSettings(
            bundle,
            engine,
            server,
            timeout_s,
            given_keys(server, key, server_key),
            tuple(prevalence or ()),
            estimate_prevalence,
            thorough,
        ),
        answers=Answers(output, summary, report, thumbnails, overlay),
        recursive=recursive,
        stack=Stack(stack),
    )
    code = run(request, Console(soft_wrap=True, highlight=False))
    if code:
        raise typer.Exit(code)


def _detector(text: str) -> tuple[str, DetectorAngles]:
    """Name and angles of ``HAADF=70-200``, or of ``HAADF`` alone."""
    from stemctx_core.reading.declared import DetectorAngles

    name, equals, angles = (part.strip() for part in text.partition("="))
    if not equals and name:
        return name, DetectorAngles()
    try:
        inner, outer = (float(part) for part in angles.split("-"))
    except ValueError:
        name = ""
    if not name:
        raise InputError(
            f"'{text}' is no detector. Give its name with inner and outer angle in mrad, as HAADF=70-200."
        )
    return name, DetectorAngles(inner, outer)
