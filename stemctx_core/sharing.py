"""Products of large matrices on as many threads as compiled loops have; the libraries behind them are given one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numba

T = TypeVar("T")
#: Below so many rows a thread more costs what it saves.
_LEAST_ROWS = 512


def shared(rows: int, work: Callable[[slice], T]) -> list[T]:
    """Results of work on parts of so many rows, in order; the parts are done at the same time.

    Parameters
    ----------
    work
        Called with the rows of a part; it must leave the interpreter alone while it works, as numpy does.
    """
    threads = max(1, min(numba.get_num_threads(), rows // _LEAST_ROWS))
    edges = [rows * k // threads for k in range(threads + 1)]
    parts = [slice(*pair) for pair in pairwise(edges)]
    if threads == 1:
        return [work(parts[0])]
    with ThreadPoolExecutor(threads - 1, "stemctx-share") as pool:
        others = [pool.submit(work, part) for part in parts[1:]]
        first = work(parts[0])
        return [first, *(other.result() for other in others)]
