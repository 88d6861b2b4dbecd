"""Kernels that numba compiles, kept on disk where a folder for them can be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numba

#: Parts that a loop's work is dealt out in, so that cores share it and each part adds up by itself.
PARTS: Final = 16


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit` that compiles once an installation, or once a process where nothing can be written.

    Parameters
    ----------
    options
        Of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            kept: Callable[..., Any] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written
            kept = numba.njit(**options)(function)
        return kept

    return decorate


@contextmanager
def alone(small: bool) -> Iterator[None]:
    """Let compiled loops take one thread where there is so little to do that waking the others costs more."""
    threads = numba.get_num_threads()
    if small:
        numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)
