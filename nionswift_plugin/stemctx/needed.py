"""What a command needs that may not be installed."""

from __future__ import annotations

import importlib.util

from stemctx_core.errors import InputError


def there(module: str) -> bool:
    """Whether a module can be found; it is not imported, its parents are."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def need(*modules: str, extra: str) -> None:
    """Raise `InputError` that names the extra to install where a module is missing."""
    for name in modules:
        if not there(name):
            raise InputError(f'{name} is not installed. Run: pip install "stemctx[{extra}]"')
