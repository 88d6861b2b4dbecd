"""Which reader takes which kind of file; none is imported before a file of its kind is read."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from stemctx_core.errors import InputError
from stemctx_core.reading.images import FoundImage

Reader = Callable[[Path], list[FoundImage]]
"""Gives all images of a file; may raise anything for a damaged one."""

#: Other packages bring readers of their own: an entry point's name is the suffix without its dot, and it is a `Reader`.
ENTRY_POINTS: Final = "stemctx.readers"

_OWN: Final = {
    ".npy": "stemctx_core.reading.npy:read",
    ".tif": "stemctx_core.reading.tiff:read",
    ".tiff": "stemctx_core.reading.tiff:read",
    ".dm3": "stemctx_core.reading.gatan:read",
    ".dm4": "stemctx_core.reading.gatan:read",
    ".emd": "stemctx_core.reading.emd:read",
    ".ser": "stemctx_core.reading.tia:read",
}


def readable_suffixes() -> tuple[str, ...]:
    """Suffixes of the files that can be read, in lower case, with their dot."""
    return (*_OWN, *sorted(_brought()))


def reader_of(path: Path) -> Reader:
    """Reader of a file by its suffix.

    Raises
    ------
    InputError
        A kind that is not read, or one whose package is not installed.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in _OWN:
            module, _, name = _OWN[suffix].partition(":")
            reader: Reader = getattr(importlib.import_module(module), name)
            return reader
        if suffix in _brought():
            brought: Reader = _brought()[suffix].load()
            return brought
    except ModuleNotFoundError as error:
        raise lacking(path, error) from error
    raise InputError(
        f"{path} is of a kind that is not read. Export it as .tif; read are {', '.join(readable_suffixes())}."
    )


def lacking(path: Path, error: ModuleNotFoundError) -> InputError:
    """What to install for a file."""
    extra = "plugin" if (error.name or "").startswith("nion") else "files"
    return InputError(
        f"{path} needs the Python package '{error.name}', which is not installed. "
        f'Run: pip install "stemctx[{extra}]"; or export the image as .tif.'
    )


@cache
def _brought() -> dict[str, importlib.metadata.EntryPoint]:
    return {f".{e.name.lower()}": e for e in importlib.metadata.entry_points(group=ENTRY_POINTS)}
