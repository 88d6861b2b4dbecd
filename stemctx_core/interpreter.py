"""Which Python a process of ours is started with; nothing but the standard library is needed to say."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python() -> str:
    """Find the interpreter: inside a program that embeds Python, `sys.executable` may be that program, or not be there."""
    found = (place for place in candidates(Path(sys.executable), Path(sys.prefix)) if place.is_file())
    return str(next(found, sys.executable))


def candidates(executable: Path, prefix: Path, windows: bool = os.name == "nt") -> list[Path]:
    """Where an interpreter may be, the likeliest first.

    Nion's launcher names ``Python.exe`` in the folder of an environment. That is right for conda; an environment made
    with venv has it in ``Scripts``.

    Parameters
    ----------
    executable, prefix
        Of the `sys` of this process.
    windows
        Whether environments are laid out as on Windows.
    """
    named = [executable] if executable.name.lower().startswith("python") else []
    if windows:
        folders = (executable.parent, prefix)
        return [*named, *(place for f in folders for place in (f / "Scripts" / "python.exe", f / "python.exe"))]
    return [*named, prefix / "bin" / "python3"]
