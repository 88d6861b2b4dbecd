"""Fuzz the reading of messages with atheris, which is not installed with the project:

python -m venv fuzz && fuzz/bin/pip install -e . atheris
fuzz/bin/python -m tests.fuzz.wire -max_total_time=600 found tests/fuzz/corpus

New inputs are kept in `found`; those worth keeping (at most 200, 500 kB) belong into tests/fuzz/corpus.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import atheris
import msgspec

with atheris.instrument_imports(include=["realtime"]):
    from realtime.wire import protocol
    from tests.fuzz import message

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**15, 2**31, 2**40, 2**63 - 1, 2**64 - 1, -(2**63), 0.0, -1.0, 1e-300, 1e300, float("inf"),
    float("nan"), "", "frame", "rows", "patches", "<u2", "<f4", ">f4", "O", "x" * 300, b"", b"\0" * 16, [], {}, [0, 0],
    [2**22, 2**22, 2**22], {"gain": 0.0, "offset": 0.0}, {"gain": 1e30, "offset": -1e30},
)  # fmt: skip


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Change the bytes, or one value inside the header: blind changes seldom leave a header that can be read."""
    rng = random.Random(seed)
    if rng.random() < 0.4:
        return bytes(atheris.Mutate(data, most))
    parts = message.parts_of(data)
    try:
        header = msgspec.msgpack.decode(parts[1])
        _change(header, rng)
        parts[1] = msgspec.msgpack.encode(header)
    except (IndexError, TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return bytes(atheris.Mutate(data, most))
    parts[0] = protocol.encode(protocol.Hello(session=bytes(16), id=0))[0]  # type: ignore[call-overload]
    return message.input_of([part[:60_000] for part in parts])[:most]


def _change(value: Any, rng: random.Random) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
        _change(value[key], rng)
    elif isinstance(value, dict) and rng.random() < 0.2:
        del value[key]
    elif isinstance(value[key], int) and rng.random() < 0.5:
        value[key] += rng.choice((-1, 1))
    else:
        value[key] = rng.choice(ODD)


if __name__ == "__main__":
    atheris.Setup(sys.argv, message.read, custom_mutator=mutated)
    atheris.Fuzz()
