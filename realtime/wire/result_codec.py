"""`FrameResult` to a reply and back, complete."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from realtime.wire.codec import AnyArray, Arrays
from realtime.wire.messages import ResultBody, Status, WireError
from stemctx_core.results import DECISIONS, SUBLATTICES, FrameResult, SiteTable

_METADATA: Final = tuple(f.name for f in msgspec.structs.fields(ResultBody))

#: Site columns: type on the wire and type in the table. int8 has no place on the wire and goes bit by bit as uint8.
_COLUMNS: Final = {
    "y_px": ("<f4", np.float32),
    "x_px": ("<f4", np.float32),
    "sublattice": ("u1", np.int8),
    "posterior": ("<f4", np.float32),
    "best": ("<i2", np.int16),
    "decision": ("u1", np.int8),
    "reason": ("<i2", np.int16),
}


def body_of(result: FrameResult) -> tuple[ResultBody, Arrays]:
    """Header body and arrays of a result."""
    body = ResultBody(**{name: getattr(result, name) for name in _METADATA})
    return body, {name: _outgoing(getattr(result.sites, name)) for name in _COLUMNS}


def result_from(body: ResultBody, arrays: Arrays) -> FrameResult:
    """Put together the result that `body_of` took apart.

    Raises
    ------
    WireError
        Where the arrays do not fit each other or point outside what the header lists, so that whoever reads the
        result can index without fear.
    """
    if list(arrays) != list(_COLUMNS) or any(arrays[n].dtype != np.dtype(t) for n, (t, _) in _COLUMNS.items()):
        raise WireError(Status.BAD_REQUEST, f"A result needs the arrays {list(_COLUMNS)} in their own types.")
    count = len(arrays["y_px"])
    for name, array in arrays.items():
        expected = (count, len(body.candidates)) if name == "posterior" else (count,)
        if array.shape != expected:
            raise WireError(Status.BAD_REQUEST, f"Array '{name}' is {array.shape}, expected {expected}.")
    _check_index("best", arrays["best"], len(body.candidates))
    _check_index("decision", arrays["decision"], len(DECISIONS))
    _check_index("reason", arrays["reason"], len(body.reasons))
    _check_index("sublattice", arrays["sublattice"], len(SUBLATTICES))
    if len(body.prior) not in (0, len(body.candidates)) or not all(0 < p <= 1 for p in body.prior):
        raise WireError(Status.BAD_REQUEST, "The prior is not one probability for each candidate.")
    table = SiteTable(**{n: arrays[n].view(native) for n, (_, native) in _COLUMNS.items()})
    return FrameResult(sites=table, **{name: getattr(body, name) for name in _METADATA})


def _outgoing(array: AnyArray) -> AnyArray:
    return array.view(np.uint8) if array.dtype == np.int8 else array


def _check_index(name: str, array: AnyArray, end: int) -> None:
    if array.size and (int(array.min()) < 0 or int(array.max()) >= end):
        raise WireError(Status.BAD_REQUEST, f"Array '{name}' points outside its list of {end}.")
