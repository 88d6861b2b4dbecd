"""Micrographs to a book of sites; behind `stemctx label make`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from realtime.engines.select import load_classifier
from realtime.files.finding import find_files
from realtime.files.images import seen_images
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.making import sites_of
from stemctx_core.labelling.sampling import Amounts
from stemctx_core.reading.declared import Declared
from stemctx_core.results import Refusal


class BookRequest(msgspec.Struct, frozen=True):
    """What a book is made of.

    Attributes
    ----------
    images
        Files, folders or patterns.
    options
        What is declared of all images, before what stands beside each file and in it.
    seed
        What is drawn follows from it.
    """

    images: tuple[Path, ...]
    options: Declared
    output: Path
    amounts: Amounts
    seed: int = 0
    bundle: Path | None = None
    recursive: bool = False


class Made(NamedTuple):
    """What came of it: sites in the book, frames that they are of, and frames or files that gave none."""

    sites: int
    frames: int
    left_out: int


class _Frame(NamedTuple):
    name: str
    pixels: NDArray[Any]
    context: ImagingContext


def make_book(request: BookRequest, console: Console) -> Made:
    """Make a book, which appears whole or not at all; a frame that cannot be judged is told and left out.

    Returns
    -------
    Made
        No book is made where it has no site.

    Raises
    ------
    InputError
        A book that is there already, or a name that leads to no file.
    """
    output = request.output
    if output.exists():
        raise InputError(f"{output} is there already, and its answers are kept. Name another file.")
    if not output.parent.is_dir():
        raise InputError(f"There is no folder {output.parent} to write {output.name} to. Make it first.")
    files = find_files(request.images, request.recursive)
    analyzer = FrameAnalyzer(load_classifier(request.bundle, "auto"))
    part = output.with_name(output.name + ".part")
    part.unlink(missing_ok=True)
    counts: list[int] = []
    try:
        with Book.create(part) as book:
            for path in track(files, "Judging", console=console, transient=True):
                counts += _file(path, request, analyzer, book, len(counts), console)
        made = Made(sum(counts), sum(count > 0 for count in counts), sum(count == 0 for count in counts))
        if made.sites:
            part.replace(output)
    finally:
        for rest in (part, *part.parent.glob(part.name + "-*")):
            rest.unlink(missing_ok=True)
    if made.sites:
        console.print(f"wrote {output}: {made.sites} sites. Label them with: stemctx label serve {output}")
    return made


def _file(
    path: Path, request: BookRequest, analyzer: FrameAnalyzer, book: Book, before: int, console: Console
) -> list[int]:
    """Sites of each frame of a file; 0 of one that is left out, with the reason told."""
    counts: list[int] = []
    try:
        for frame in _frames(path, request.options):
            seed = request.seed + before + len(counts)
            made = sites_of(frame.pixels, frame.context, frame.name, analyzer, request.amounts, seed)
            if isinstance(made, Refusal):
                console.print(f"[yellow]{escape(frame.name)} was not judged:[/] {escape(made.reason)}")
                counts.append(0)
            else:
                counts.append(len(book.add(*made)))
                console.print(f"{escape(frame.name)}: {counts[-1]} sites")
    except InputError as error:
        console.print(f"[yellow]left out:[/] {escape(str(error))}")
        counts.append(0)
    return counts


def _frames(path: Path, options: Declared) -> Iterator[_Frame]:
    """Every frame of a file, with its context; of a file with several detectors, of those that are declared."""
    for seen in seen_images(path, options)[0]:
        for number, pixels in enumerate(seen.image.frames):
            parts = [path.name, seen.image.name, f"#{number}" if len(seen.image.frames) > 1 else ""]
            yield _Frame(" ".join(part for part in parts if part), pixels, seen.context)
