"""Atomic numbers and the shell encoding."""

import numpy as np
import periodictable
import pytest

from stemctx_core.chemistry.elements import SUBSHELLS, atomic_number, shell_encoding
from stemctx_core.errors import InputError


@pytest.mark.parametrize(("symbol", "number"), [("O", 8), ("V", 23), ("Se", 34), ("W", 74), ("Rn", 86)])
def test_atomic_number(symbol: str, number: int) -> None:
    assert atomic_number(symbol) == number


@pytest.mark.parametrize("symbol", ["", "w", "Xx", "Se2", "74", "W "])
def test_what_is_no_element(symbol: str) -> None:
    with pytest.raises(InputError, match="no element"):
        atomic_number(symbol)


@pytest.mark.parametrize("symbol", ["H", "O", "Ti", "Mo", "Te", "W", "Au", "Rn"])
def test_encoding_holds_every_electron(symbol: str) -> None:
    code = shell_encoding(symbol)
    assert code.shape == (len(SUBSHELLS) + 1,)
    assert code.dtype == np.float32
    electrons = sum(share * capacity for share, (_, capacity) in zip(code, SUBSHELLS, strict=False))
    assert electrons == pytest.approx(atomic_number(symbol), abs=1e-4)
    assert code[-1] == pytest.approx(atomic_number(symbol) / 80)


def test_encoding_tells_all_elements_apart() -> None:
    codes = [shell_encoding(e.symbol) for e in periodictable.elements if 1 <= e.number <= 86]
    assert len({c.tobytes() for c in codes}) == 86


def test_neighbours_in_the_table_are_neighbours_in_the_code() -> None:
    def apart(a: str, b: str) -> float:
        return float(np.linalg.norm(shell_encoding(a) - shell_encoding(b)))

    assert apart("W", "Re") < apart("W", "Mo")
    assert apart("V", "Cr") < apart("V", "Nb")
