"""Which files are meant, and which of them are of one scan."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from stemctx_core.errors import InputError
from stemctx_core.reading import readable_suffixes

_PATTERN: Final = re.compile(r"[*?\[]")
_BETWEEN: Final = re.compile(r"[\s_\-.,()+]+")


def is_batch(paths: Sequence[Path]) -> bool:
    """Whether more than one file may be meant: several names, a folder or a pattern."""
    return len(paths) != 1 or paths[0].is_dir() or _is_pattern(paths[0])


def find_files(paths: Iterable[Path], recursive: bool = False) -> list[Path]:
    """Files that are meant, each once, in the order given and by name within a folder.

    Parameters
    ----------
    paths
        Files, which are taken whatever their kind; folders and patterns, of which what can be read is taken.
    recursive
        Whether the folders in a folder count.

    Raises
    ------
    InputError
        Where a name, a folder or a pattern leads to no file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            among = path.rglob("*") if recursive else path.glob("*")
            files = _readable(among)
            if not files:
                deeper = "" if recursive else " With --recursive the folders in it count too."
                raise InputError(f"The folder {path} holds no file that can be read.{deeper}")
        elif path.is_file():
            files = [path]
        elif _is_pattern(path):
            files = _readable(Path(p) for p in glob.glob(str(path), recursive=True, include_hidden=False))
            if not files:
                raise InputError(f"No file that can be read fits {path}. Check the pattern.")
        else:
            raise InputError(f"There is no file {path}. Check the name.")
        found.update(dict.fromkeys(files))
    return list(found)


def _is_pattern(path: Path) -> bool:
    return not path.exists() and _PATTERN.search(str(path)) is not None


def _readable(paths: Iterable[Path]) -> list[Path]:
    suffixes = set(readable_suffixes())
    return sorted(
        p for p in paths if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()
    )


def detector_in_name(path: Path, detectors: Iterable[str]) -> str:
    """The detector that a file is named after, such as ADF1 of ``scan_2_ADF1.tif``; empty where it is none."""
    parts = {part.lower() for part in _BETWEEN.split(path.stem)}
    return next((d for d in detectors if d.lower() in parts), "")


def scan_of(path: Path, detectors: Iterable[str]) -> tuple[Path, str]:
    """What the files of one scan have in common: folder and name without the detector."""
    detector = detector_in_name(path, detectors).lower()
    parts = [part for part in _BETWEEN.split(path.stem) if part.lower() != detector]
    return path.parent, " ".join(parts)
