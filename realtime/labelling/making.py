"""Micrographs to a book of sites; behind `stemctx label make`."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from realtime.engines.select import load_classifier
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext, Known, Missing
from stemctx_core.errors import InputError
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.making import sites_of
from stemctx_core.labelling.sampling import Amounts
from stemctx_core.reading import Micrograph, read_micrograph
from stemctx_core.results import Refusal


class BookRequest(msgspec.Struct, frozen=True):
    """What a book is made of.

    Attributes
    ----------
    context
        Of all images; each file's own pixel size where it gives none.
    seed
        What is drawn follows from it.
    """

    images: tuple[Path, ...]
    context: ImagingContext
    output: Path
    amounts: Amounts
    seed: int = 0
    bundle: Path | None = None


def make_book(request: BookRequest, console: Console) -> int:
    """Make a book, which appears whole or not at all; a frame that cannot be judged is told and left out.

    Returns
    -------
    int
        Number of sites; no book is made where it is 0.

    Raises
    ------
    InputError
        A file that cannot be read, or a book that is there already.
    """
    output = request.output
    if output.exists():
        raise InputError(f"{output} is there already, and its answers are kept. Name another file.")
    if not output.parent.is_dir():
        raise InputError(f"There is no folder {output.parent} to write {output.name} to. Make it first.")
    analyzer = FrameAnalyzer(load_classifier(request.bundle, "auto"))
    part = output.with_name(output.name + ".part")
    part.unlink(missing_ok=True)
    count = 0
    try:
        with Book.create(part) as book:
            for number, path in enumerate(track(request.images, "Judging", console=console, transient=True)):
                micrograph = read_micrograph(path)
                context = _with_file(request.context, micrograph)
                made = sites_of(
                    micrograph.image, context, path.name, analyzer, request.amounts, request.seed + number
                )
                if isinstance(made, Refusal):
                    console.print(f"[yellow]{escape(path.name)} was not judged:[/] {escape(made.reason)}")
                    continue
                numbers = book.add(*made)
                count += len(numbers)
                console.print(f"{escape(path.name)}: {len(numbers)} sites")
        if not count:
            return 0
        part.replace(output)
    finally:
        for rest in (part, *part.parent.glob(part.name + "-*")):
            rest.unlink(missing_ok=True)
    console.print(f"wrote {output}. Label with: stemctx label serve {output}")
    return count


def _with_file(context: ImagingContext, micrograph: Micrograph) -> ImagingContext:
    """Keep what the user says over what the file says of itself."""
    stated = {
        name: getattr(micrograph.said, name)
        for name, quantity in context.quantities()
        if isinstance(quantity, Missing) and isinstance(getattr(micrograph.said, name, None), Known)
    }
    return msgspec.structs.replace(context, channel=micrograph.name or micrograph.path.name, **stated)
