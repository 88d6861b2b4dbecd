"""What is put into a file as text: JSON of records, bounded, and read back as the record that it was."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np

from stemctx_core.errors import InputError

#: Longest event, in bytes of JSON.
MAX_EVENT_BYTES: Final = 1 << 20
_MAX_LISTED: Final = 1024


def to_text(value: Any) -> bytes:
    """JSON of records, dicts, numbers, NumPy's too; not-a-number and infinity as Python writes them.

    Raises
    ------
    InputError
        Where it cannot be written or is too long.
    """
    try:
        text = json.dumps(msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"This cannot be recorded: {error}. Give numbers, texts, lists and dicts.") from error
    if len(text) > MAX_EVENT_BYTES:
        raise InputError(
            f"{len(text)} bytes are too many for one event of a record ({MAX_EVENT_BYTES}). Give less evidence."
        )
    return text


def from_text(text: bytes, kind: Any) -> Any:
    """Read what `to_text` wrote; raise ValueError (msgspec's included) or RecursionError where it is damaged."""
    return msgspec.convert(json.loads(text), kind)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size <= _MAX_LISTED and value.dtype.kind in "buif":
            return value.tolist()
        return f"array {value.shape} of {value.dtype}"
    return str(value)[:1000]
