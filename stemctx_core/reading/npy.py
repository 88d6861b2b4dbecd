"""NumPy's own files: an array and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemctx_core.context import Missing
from stemctx_core.reading.images import FoundImage
from stemctx_core.reading.values import FileValues


def read(path: Path) -> list[FoundImage]:
    """The array of a ``.npy`` file.

    Mapped, so that a header that lies about the size is found out before memory is taken. An array of objects is
    refused by NumPy, since it could run code.
    """
    said = FileValues(pixel_size_angstrom=Missing("a .npy file states no pixel size"))
    return [FoundImage(np.lib.format.open_memmap(path, mode="r"), said=said)]
