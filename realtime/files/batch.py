"""Files to outcomes, one after the other; what cannot be read or judged is an outcome too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from realtime.files.finding import find_files, scan_of
from realtime.files.images import SeenImage, seen_images
from realtime.files.judging import Judge
from realtime.files.outcome import Outcome
from stemctx_core.context import ImagingContext, Known, Missing, Quantity
from stemctx_core.errors import InputError
from stemctx_core.reading.declared import SAME, Declared, detectors, together, told_of
from stemctx_core.results import FrameIdentity


class Stack(StrEnum):
    """What the frames of a stack are to each other."""

    EACH = "each"
    SUM = "sum"
    FIELD = "field"


Progress = Callable[[int, int, str], None]
"""Told before each scan: how many were done, of how many, and the name of the next."""


def analyze(
    paths: Iterable[Path],
    options: Declared | None = None,
    judge: Judge | None = None,
    *,
    recursive: bool = False,
    stack: Stack = Stack.EACH,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Judge every image of files and folders.

    Parameters
    ----------
    paths
        Files, folders, patterns.
    options
        What is declared of all of them; TOML files beside them and their own metadata fill it up.
    judge
        The shipped model in this process where left out.
    recursive
        Whether the folders in a folder count.
    stack
        Whether frames of a stack are judged one by one, added up pixel by pixel, or by their evidence together.
    progress
        Called before each scan.

    Yields
    ------
    Outcome
        One for each image, in the order of the files.

    Raises
    ------
    InputError
        Where no file is meant. A file that cannot be read is an outcome.
    TransportError
        Where a server judges and does not answer.
    """
    files = find_files(paths, recursive)
    scans = _scans(files, options)
    done = 0
    with nullcontext(judge) if judge else Judge() as used:
        for scan in scans:
            if progress:
                progress(done, len(files), scan[0].name)
            yield from _of_scan(scan, options, used, stack)
            done += len(scan)
        if progress:
            progress(done, len(files), "")


def _scans(files: Sequence[Path], options: Declared | None) -> list[tuple[Path, ...]]:
    """Files of one scan together, where their detectors are to be judged together; else each by itself."""
    keyed = []
    for number, path in enumerate(files):
        try:
            told = told_of(path, options)
            whole = together(told) and scan_of(path, detectors(told))
        except InputError:
            whole = False  # told once it is its turn
        keyed.append((whole or number, path))
    first = {key: i for i, (key, _) in reversed(list(enumerate(keyed)))}
    ordered = sorted(keyed, key=lambda pair: first[pair[0]])
    return [tuple(path for _, path in group) for _, group in groupby(ordered, key=lambda pair: pair[0])]


def _of_scan(scan: tuple[Path, ...], options: Declared | None, judge: Judge, stack: Stack) -> Iterator[Outcome]:
    seen: list[SeenImage] = []
    left_out: list[str] = []
    for path in scan:
        try:
            found, others = seen_images(path, options)
        except InputError as error:
            yield Outcome((path,), error=str(error))
            continue
        seen += found
        left_out += others
    if not seen:
        return
    told = (f"Left out: {', '.join(left_out)}.",) if left_out else ()
    if together(told_of(scan[0], options)):
        yield from _together(seen, judge, stack, told)
        return
    for one in seen:
        yield from _alone(one, judge, stack, told)


def _alone(one: SeenImage, judge: Judge, stack: Stack, told: tuple[str, ...]) -> Iterator[Outcome]:
    frames = one.image.frames
    name = one.name if one.image.name else ""
    for number, chosen in _frames(frames, stack):
        shown = chosen[-1]
        identity = _identity(one.image.path, number, shown)
        if len(chosen) > 1:
            result = judge.field(chosen, one.context, identity)
        else:
            result = judge.one(shown, one.context, identity)
        yield Outcome(
            (one.image.path,), name, number, shown, result, notes=(*one.notes, *told), said=one.image.said
        )


def _together(
    seen: Sequence[SeenImage], judge: Judge, stack: Stack, told: tuple[str, ...]
) -> Iterator[Outcome]:
    files = tuple(dict.fromkeys(s.image.path for s in seen))
    counts = {len(s.image.frames) for s in seen}
    fault = ""
    if len(counts) > 1:
        fault = (
            f"The detectors of this scan have stacks of {' and '.join(map(str, sorted(counts)))} frames, which are not "
            "of one scan. Judge them apart."
        )
    elif stack is Stack.FIELD and counts != {1}:
        fault = "Stacks of several detectors are judged frame by frame or summed. Give --stack each or sum."
    if fault:
        yield Outcome(files, error=fault)
        return
    name = " + ".join(s.name for s in seen if s.name)
    notes = tuple(dict.fromkeys(n for s in seen for n in s.notes))
    if len(seen) == 1:
        told = (*told, f"Only {name or files[0].name} was found of this scan.")
    contexts = [_as_told_first(s.context, seen[0].context) for s in seen]
    each = [_frames(s.image.frames, stack) for s in seen]
    for parts in zip(*each, strict=True):
        number = parts[0][0]
        images = [chosen[-1] for _, chosen in parts]
        identity = _identity(files[0], number, images[0])
        result = judge.detectors(list(zip(images, contexts, strict=True)), identity)
        chosen = contexts.index(result.context) if result.context in contexts else 0
        yield Outcome(
            files, name, number, images[chosen], result, notes=(*notes, *told), said=seen[chosen].image.said
        )


def _as_told_first(context: ImagingContext, first: ImagingContext) -> ImagingContext:
    """A detector's context with what is the whole scan's as the first file says it, where it is the same but rounded."""
    changes: dict[str, Quantity] = {}
    for name, value in first.quantities():
        other = getattr(context, name)
        if name in {"inner_mrad", "outer_mrad"}:
            continue
        if isinstance(value, Known) and isinstance(other, Known):
            if abs(other.value / value.value - 1) <= SAME:
                changes[name] = value
        elif isinstance(value, Missing) and isinstance(other, Missing):
            changes[name] = value
    return msgspec.structs.replace(context, **changes)


def _frames(frames: NDArray[Any], stack: Stack) -> list[tuple[int | None, list[NDArray[Any]]]]:
    """Which frames are judged at once, and their number where it is one of several."""
    if len(frames) == 1:
        return [(None, [frames[0]])]
    if stack is Stack.SUM:
        return [(None, [frames.sum(axis=0, dtype="f8").astype("f4")])]
    if stack is Stack.FIELD:
        return [(None, list(frames))]
    return [(k, [frame]) for k, frame in enumerate(frames)]


def _identity(path: Path, number: int | None, image: NDArray[Any]) -> FrameIdentity:
    height, width = image.shape
    return FrameIdentity(path.name, number or 0, height, (height, width))
