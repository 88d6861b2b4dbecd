"""A run of `stemctx analyze`: files judged, answers written, and told; a refused image never ends a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from realtime.files import telling
from realtime.files.batch import Stack, analyze
from realtime.files.finding import find_files, is_batch
from realtime.files.judging import Judge, JudgeSettings
from realtime.files.outcome import Outcome
from realtime.files.writing import Answers, write_answers
from stemctx_core.errors import InputError
from stemctx_core.reading import FileValues
from stemctx_core.reading.declared import Declared, Told, context_of

#: Exit codes: every image was judged, none was, some were.
ALL_JUDGED, NONE_JUDGED, SOME_JUDGED = 0, 2, 3


class Request(msgspec.Struct, frozen=True):
    """Files to be judged, and where the answers go.

    Attributes
    ----------
    paths, recursive, stack
        As of `analyze`.
    options
        What is declared of all files.
    judge
        What judges.
    answers
        What is written.
    """

    paths: tuple[Path, ...]
    options: Declared
    judge: JudgeSettings
    answers: Answers
    recursive: bool = False
    stack: Stack = Stack.EACH


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
    if many and request.answers.overlay is not None:
        raise InputError("--overlay is the picture of one image. Give --report, which holds a map of each.")
    request.answers.check(files)
    with ExitStack() as stack:
        judge = stack.enter_context(Judge(request.judge))
        outcomes = _outcomes(request, judge, stack, show=many)
        if not many:
            first = tuple(islice(outcomes, 2))
            if len(first) == 1:
                return _one(request, first[0], console)
            if request.answers.overlay is not None:
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
    written = write_answers(request.answers, [outcome], several=False)
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

    written = write_answers(request.answers, told(), several=True)
    telling.tell_total(judged, refused, list(map(str, written)), console)
    return (SOME_JUDGED if judged else NONE_JUDGED) if refused else ALL_JUDGED
