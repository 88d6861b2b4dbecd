"""A run of `stemctx analyze`: files judged, answers written, and told; a refused image never ends a batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from realtime.files import telling
from realtime.files.batch import Stack, analyze
from realtime.files.finding import find_files, is_batch
from realtime.files.judging import Judge, JudgeSettings
from realtime.files.outcome import Outcome
from realtime.files.tables import SiteTableFile, check_suffix, summary_row, write_summary
from stemctx_core.errors import InputError
from stemctx_core.reading import FileValues
from stemctx_core.reading.declared import Declared, Told, context_of

#: Exit codes: every image was judged, none was, some were.
ALL_JUDGED, NONE_JUDGED, SOME_JUDGED = 0, 2, 3
_SUMMARY: Final = "_images"


class Request(msgspec.Struct, frozen=True):
    """Files to be judged, and where the answers go.

    Attributes
    ----------
    paths, recursive, stack
        As of `analyze`.
    options
        What is declared of all files.
    output
        Table of sites.
    summary
        Table of images; beside `output` where left out and there are several.
    report, thumbnails
        Page (HTML), and how many flags of an image it shows.
    overlay
        Picture (PNG) of a single image.
    """

    paths: tuple[Path, ...]
    options: Declared
    judge: JudgeSettings
    output: Path
    summary: Path | None = None
    report: Path | None = None
    overlay: Path | None = None
    recursive: bool = False
    stack: Stack = Stack.EACH
    thumbnails: int = 200


def run(request: Request, console: Console) -> int:
    """Judge, write and tell.

    Returns
    -------
    int
        `ALL_JUDGED`, `NONE_JUDGED` or `SOME_JUDGED`.

    Raises
    ------
    InputError
        Where nothing can be done at all: options, places to write to, or the one file that is meant.
    TransportError
        Where a server judges and does not answer.
    """
    if request.options.host is not None:
        context_of(FileValues(), (Told(request.options),))
    files = find_files(request.paths, request.recursive)
    many = is_batch(request.paths)
    if many and request.overlay is not None:
        raise InputError("--overlay is the picture of one image. Give --report, which holds a map of each.")
    _check_outputs(_outputs(request), files)
    with ExitStack() as stack:
        judge = stack.enter_context(Judge(request.judge))
        outcomes = _outcomes(request, judge, stack, show=many)
        if not many:
            first = tuple(islice(outcomes, 2))
            if len(first) == 1:
                return _one(request, first[0], console)
            if request.overlay is not None:
                raise InputError(
                    f"{files[0]} holds several images, and --overlay is the picture of one. Give --report."
                )
            outcomes = chain(first, outcomes)
        return _many(request, outcomes, console)


def _outcomes(request: Request, judge: Judge, stack: ExitStack, show: bool) -> Iterator[Outcome]:
    bar: Progress | None = None
    if show:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        task = bar.add_task("", total=None)

    def progress(done: int, total: int, name: str) -> None:
        if bar is not None:
            bar.update(task, completed=done, total=total, description=name)

    return analyze(
        request.paths, request.options, judge, recursive=request.recursive, stack=request.stack, progress=progress
    )  # fmt: skip


def _one(request: Request, outcome: Outcome, console: Console) -> int:
    """A single image: a refusal is told and nothing is written."""
    if outcome.result is None:
        raise InputError(outcome.error)
    if not outcome.judged:
        telling.tell_refused(outcome, console)
        return NONE_JUDGED
    written = _write(request, [outcome], several=False)
    telling.tell_one(outcome, console)
    console.print(f"wrote {' and '.join(map(str, written))}")
    return ALL_JUDGED


def _many(request: Request, outcomes: Iterable[Outcome], console: Console) -> int:
    judged = refused = 0

    def told() -> Iterator[Outcome]:
        nonlocal judged, refused
        for outcome in outcomes:
            judged, refused = judged + outcome.judged, refused + (not outcome.judged)
            telling.tell_of_many(outcome, console)
            yield outcome

    written = _write(request, told(), several=True)
    telling.tell_total(judged, refused, list(map(str, written)), console)
    return (SOME_JUDGED if judged else NONE_JUDGED) if refused else ALL_JUDGED


def _write(request: Request, outcomes: Iterable[Outcome], several: bool) -> list[Path]:
    """Write what is asked for, the tables first; each file appears whole or not at all."""
    report = _report(request)
    summaries: list[dict[str, Any]] = []
    summary = request.summary or (_beside(request.output) if several else None)
    try:
        with SiteTableFile(request.output, places=several) as table:
            for outcome in outcomes:
                table.add(outcome)
                summaries.append(summary_row(outcome))
                if report is not None:
                    report.add(outcome)
                last = outcome
            pictures = _overlay(request, last)
            table.finish()
        if summary is not None:
            write_summary(summary, summaries)
        if report is not None and request.report is not None:
            report.write(request.report)
        if pictures is not None and request.overlay is not None:
            from stemctx_core.whole_files import write_whole

            write_whole(request.overlay, pictures)
    except OSError as error:
        raise InputError(
            f"The results cannot be written: {error}. Choose another folder or free the disk."
        ) from error
    return [p for p in (request.output, summary, request.report, request.overlay) if p is not None]


def _report(request: Request) -> Any:
    if request.report is None:
        return None
    from realtime.files.report import Report

    return Report(request.thumbnails)


def _overlay(request: Request, outcome: Outcome) -> bytes | None:
    if request.overlay is None or outcome.image is None or outcome.result is None:
        return None
    from stemctx_core.look.pictures import overlay_png

    return overlay_png(outcome.image, outcome.result, outcome.label)


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.stem}{_SUMMARY}{output.suffix}")


def _outputs(request: Request) -> list[Path]:
    asked = (request.output, request.summary, request.report, request.overlay)
    return [p for p in asked if p is not None]


def _check_outputs(outputs: list[Path], files: list[Path]) -> None:
    """Find out before the work whether its results have a place."""
    for path in outputs:
        if path.is_dir():
            raise InputError(f"{path} is a folder. Name a file.")
        if not path.parent.is_dir():
            raise InputError(f"There is no folder {path.parent} to write {path.name} to. Make it first.")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"The folder {path.parent} cannot be written to. Choose another.")
    if len({path.resolve() for path in [*outputs, *files]}) != len(outputs) + len(files):
        raise InputError("The images, the tables and the pictures need a file each. Choose other names.")
    for path in outputs:
        check_suffix(path)
