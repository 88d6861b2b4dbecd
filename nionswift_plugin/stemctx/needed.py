"""What a command needs that may not be installed."""

from __future__ import annotations

import importlib.util

from stemctx_core.errors import InputError


def need(*modules: str, extra: str) -> None:
    """Raise `InputError` that names the extra to install where a module is missing."""
    for name in modules:
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise InputError(f'{name} is not installed. Run: pip install "stemctx[{extra}]"')
