"""Numbers are written in one way."""

import math
import re
from pathlib import Path

import pytest

from stemctx_core.look import formats

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.1234, "0.123"),
        (340.4, "340"),
        (2345, "2\u202f345"),
        (12_345, "1.2 × 10⁴"),
        (1e5, "10⁵"),
        (1.02e5, "1.0 × 10⁵"),
        (3e-7, "3.0 × 10⁻⁷"),
        (-4.56e12, "−4.6 × 10¹²"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_number_of_any_size(value: float, said: str) -> None:
    assert formats.number(value) == said


def test_one_thing_is_not_many() -> None:
    assert [formats.count(n, "flag") for n in (0, 1, 2)] == ["0 flags", "1 flag", "2 flags"]


def test_units_follow() -> None:
    assert formats.dose(1e4) == "10⁴ e/Å²"
    assert formats.density(1.23e13) == "1.2 × 10¹³ cm⁻²"
    assert formats.entropy(0.123) == "0.12 nats"
    assert formats.latency(86.7) == "87 ms"
    assert formats.probability(0.9) == "0.90"


def test_what_is_not_known_has_no_unit() -> None:
    assert {
        formats.dose(math.nan),
        formats.density(math.nan),
        formats.latency(None),
        formats.latency(math.nan),
    } == {"–"}


def test_no_other_place_formats_a_dose_or_a_density() -> None:
    """Numbers that a user typed are repeated as they are (``:g``)."""
    by_hand = re.compile(r"\{[^{}]*:[^{}]*\.\d[efg]\} ?(e/Å²|cm⁻²|per cm|e⁻)|e⁻/Å|\.\d[efg]\} per cm")
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for folder in ("stemctx_core", "realtime", "sim", "nionswift_plugin", "examples")
        for path in (REPOSITORY / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if by_hand.search(line)
    ]
    assert found == []
