"""Packages that only some commands need: an error that says how to install them."""

from __future__ import annotations

import importlib.util

from stemctx_core.errors import InputError


def need(what: str, packages: tuple[str, ...], extra: str) -> None:
    """Raise `InputError` with the fix where a package is not installed.

    Parameters
    ----------
    what
        What needs them, as the error begins.
    extra
        The extra of stemctx that brings them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f'{what} needs {", ".join(missing)}. Install what is missing with: pip install "stemctx[{extra}]"'
        )
