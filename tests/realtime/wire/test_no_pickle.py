"""Nothing in the sources can turn bytes into objects that run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FORBIDDEN = re.compile(
    r"\bimport\s+(c?[pP]ickle|dill|cloudpickle|joblib|shelve|marshal)\b|\bfrom\s+(c?[pP]ickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|(send|recv)_pyobj|allow_pickle\s*=\s*True|weights_only\s*=\s*False|(?<![.\w])(eval|exec)\(|read_pickle"
)
SOURCES = sorted(
    p for room in ("stemctx_core", "realtime", "sim", "nionswift_plugin") for p in (ROOT / room).rglob("*.py")
)


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "socket.recv_pyobj()",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only=False)",
    ],
)
def test_the_search_finds_what_it_looks_for(line: str) -> None:
    assert FORBIDDEN.search(line)


def test_fault_22_no_source_decodes_pickles() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found, "\n".join(found)
