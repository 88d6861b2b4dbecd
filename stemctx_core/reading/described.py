"""One image of a file with everything that is known of how it was taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stemctx_core.context import ImagingContext
from stemctx_core.reading.declared import Declared, context_of, told_of
from stemctx_core.reading.micrograph import read_micrograph


@dataclass(frozen=True)
class DescribedFrame:
    """An image with its context.

    Attributes
    ----------
    image
        (height, width) as the file has it.
    context
        What is known, each value with its source.
    name
        Of the file.
    notes
        Where the sources of a value differ.
    """

    image: NDArray[Any]
    context: ImagingContext
    name: str
    notes: tuple[str, ...]


def described_frame(path: Path, options: Declared) -> DescribedFrame:
    """Read a frame; options go before TOML files beside it, and these before its own metadata.

    Raises
    ------
    InputError
        A file that cannot be read, values that cannot be, or no host.
    """
    found = read_micrograph(path)
    context, notes = context_of(found.said, told_of(path, options), channel=path.name)
    return DescribedFrame(found.image, context, path.name, notes)
