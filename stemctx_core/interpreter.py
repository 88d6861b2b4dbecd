"""Which Python a process of ours is started with; nothing but the standard library is needed to say."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python() -> str:
    """Find the interpreter: inside a program that embeds Python, `sys.executable` may be that program."""
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    inside = Path(sys.prefix, "python.exe") if os.name == "nt" else Path(sys.prefix, "bin", "python3")
    return str(inside) if inside.exists() else sys.executable
