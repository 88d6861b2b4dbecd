"""Every input that the fuzzer found worth keeping is read or refused, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.wire import protocol
from realtime.wire.messages import WireError
from tests.fuzz import message

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_an_input_is_read_or_refused(path: Path) -> None:
    message.read(path.read_bytes())


def test_the_corpus_is_small_and_reaches_every_request() -> None:
    assert len(CORPUS) <= 200
    assert sum(path.stat().st_size for path in CORPUS) <= 500_000
    reached = set()
    for path in CORPUS:
        try:
            request, _ = protocol.decode_request(message.parts_of(path.read_bytes()), message.LIMITS)
        except WireError:
            continue
        reached.add(type(request).__struct_config__.tag)
    assert reached == {"hello", "frame", "rows", "patches", "status", "cancel", "bye"}


def test_an_input_stands_for_its_parts() -> None:
    parts = [b"", b"a", b"\0" * 1000]
    assert message.parts_of(message.input_of(parts)) == parts
