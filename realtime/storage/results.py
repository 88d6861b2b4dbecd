"""How a result lies in a file: a header of text and an array for each column of its table."""

from __future__ import annotations

from typing import Any, Final

from realtime.storage.packed import Packed
from realtime.storage.record_file import get_array, get_group, get_text
from realtime.storage.text import from_text, to_text
from realtime.wire.messages import ResultBody
from realtime.wire.result_codec import body_of, result_from
from stemctx_core.results import FrameResult

#: Rank of the arrays of a result.
_RANKS: Final = {"y_px": 1, "x_px": 1, "sublattice": 1, "posterior": 2, "best": 1, "decision": 1, "reason": 1}


def entry_name(number: int) -> str:
    """Name that sorts as the number does."""
    return f"{number:08d}"


def packed_result(result: FrameResult) -> Packed:
    """Take a result apart: path in the group of its frame to text or array."""
    body, arrays = body_of(result)
    return {"result/header": to_text(body)} | {f"result/{name}": array for name, array in arrays.items()}


def read_result(group: Any) -> FrameResult:
    """Put together the result that `packed_result` took apart; raise ValueError or WireError where it does not fit."""
    stored = get_group(group, "result")
    body = from_text(get_text(stored, "header"), ResultBody)
    return result_from(body, {name: get_array(stored, name, rank) for name, rank in _RANKS.items()})
