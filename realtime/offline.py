"""One micrograph from file to table and picture; behind `stemctx analyze`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from realtime.server.pipeline import FramePipeline
from stemctx_core.context import ImagingContext, Known, Missing
from stemctx_core.errors import InputError
from stemctx_core.files import Micrograph, read_micrograph
from stemctx_core.frame_checks import PIXEL_SIZE_TOLD
from stemctx_core.results import Decision, FrameIdentity, FrameResult


class OfflineRequest(msgspec.Struct, frozen=True):
    """A file to be judged, and where the answer goes.

    Attributes
    ----------
    output
        The table (CSV).
    overlay
        The picture (PNG), or None.
    bundle, engine
        For a model of this process.
    server, timeout_s
        A server that judges instead.
    key_files
        Secret key file of this client and public one of that server, where it is one with keys.
    """

    image: Path
    context: ImagingContext
    output: Path
    overlay: Path | None = None
    bundle: Path | None = None
    engine: str = "auto"
    server: str | None = None
    timeout_s: float = 60.0
    key_files: tuple[Path, Path] | None = None


def judge_file(request: OfflineRequest, console: Console) -> FrameResult:
    """Read, judge, write and tell; a refused frame is told and nothing is written.

    Raises
    ------
    InputError, ServerUnavailable
        Before anything is written.
    """
    _check_outputs(request)
    micrograph = read_micrograph(request.image)
    context = _with_pixel_size(request.context, micrograph)
    result = _judge(request, micrograph, context)
    if result.refusal is not None:
        console.print(f"[bold]{request.image} was not judged:[/] {escape(result.refusal.reason)}")
        console.print(escape(result.refusal.fix))
        return result
    _write(request, micrograph, result)
    _tell(request, result, console)
    return result


def _with_pixel_size(context: ImagingContext, micrograph: Micrograph) -> ImagingContext:
    """Keep what the user says over what the file says."""
    if isinstance(context.pixel_size_angstrom, Known):
        return context
    return msgspec.structs.replace(context, pixel_size_angstrom=micrograph.pixel_size_angstrom)


def _judge(request: OfflineRequest, micrograph: Micrograph, context: ImagingContext) -> FrameResult:
    height, width = micrograph.image.shape
    frame = FrameIdentity(scan_id=request.image.name, valid_rows=height, shape=(height, width))
    if request.server is not None:
        from realtime.client import DefectClient
        from realtime.keys.certificates import load_client_keys

        keys = load_client_keys(*request.key_files) if request.key_files else None
        with DefectClient(request.server, keys=keys) as client:
            return client.analyze(micrograph.image, context, frame, timeout_s=request.timeout_s)
    from realtime.engines.select import load_classifier
    from stemctx_core.analysis import FrameAnalyzer

    analyzer = FrameAnalyzer(load_classifier(request.bundle, request.engine))
    return FramePipeline(analyzer).process(micrograph.image, context, frame)


def _check_outputs(request: OfflineRequest) -> None:
    """Find out before the work whether its result has a place."""
    wanted = [path for path in (request.output, request.overlay) if path is not None]
    for path in wanted:
        if path.is_dir():
            raise InputError(f"{path} is a folder. Name a file.")
        if not path.parent.is_dir():
            raise InputError(f"There is no folder {path.parent} to write {path.name} to. Make it first.")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"The folder {path.parent} cannot be written to. Choose another.")
    if len({path.resolve() for path in [*wanted, request.image]}) != len(wanted) + 1:
        raise InputError("The image, the table and the picture need a file each. Choose other names.")


def _write(request: OfflineRequest, micrograph: Micrograph, result: FrameResult) -> None:
    try:
        png = b""
        if request.overlay is not None:
            from stemctx_core.pictures import overlay_png

            png = overlay_png(micrograph.image, result, request.image.name)
        # Both stand complete beside their places before either takes it.
        parts = [
            path.with_name(path.name + ".whole")
            for path in (request.output, request.overlay)
            if path is not None
        ]
        try:
            result.write_csv(parts[0])
            if request.overlay is not None:
                parts[1].write_bytes(png)
            os.replace(parts[0], request.output)
            if request.overlay is not None:
                os.replace(parts[1], request.overlay)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"The results cannot be written: {error}. Choose another folder or free the disk."
        ) from error


def _tell(request: OfflineRequest, result: FrameResult, console: Console) -> None:
    table = Table(
        "flag", "sites", title=f"{request.image.name}: {len(result.sites)} sites", title_justify="left"
    )
    for species, count in result.flag_counts().items():
        table.add_row(species, str(count))
    undecided = len(result.undecided())
    table.add_row("[dim]undecided[/]", str(undecided))
    table.add_row("[dim]at the border, not judged[/]", str(len(result.where(Decision.ABSTAIN)) - undecided))
    console.print(table)
    calibration = result.calibration
    if calibration is not None:
        console.print(
            f"pixel {calibration.pixel_size_angstrom:.4f} Å by the lattice, dose {calibration.dose_e_per_angstrom2:.2g} "
            f"e/Å², X2/M {calibration.ratio_measured:.2f} (expected {calibration.ratio_expected:.2f})"
        )
    for warning in [*result.warnings, *_pixel_size_words(result)]:
        console.print(f"[yellow]note:[/] {escape(warning)}")
    reason = f" ({result.engine.reason})" if result.engine.reason else ""
    console.print(f"[dim]{escape(f'{result.model} on {result.engine.name}{reason}')}[/]")
    console.print(f"wrote {request.output}" + (f" and {request.overlay}" if request.overlay else ""))


def _pixel_size_words(result: FrameResult) -> list[str]:
    """What the analysis does not say itself: where the pixel size came from, or why there was none."""
    pixel = result.context.pixel_size_angstrom
    if isinstance(pixel, Missing):
        return [
            f"Pixel size: {pixel.reason}. Give --pixel-size-angstrom to have it checked against the lattice."
        ]
    if result.calibration is None:
        return []
    off = result.calibration.pixel_size_angstrom / pixel.value - 1
    if abs(off) <= PIXEL_SIZE_TOLD:
        return []
    return [
        f"The pixel size of {pixel.value:.4f} Å came from the {pixel.source} ({pixel.detail}); check it there."
    ]
