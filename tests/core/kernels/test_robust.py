"""Medians by halving are those by sorting, whatever the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stemctx_core.kernels.robust import medians, of_rank, robust_sds

KINDS = [np.float32, np.float64]
numbers = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(
        kind,
        st.tuples(st.integers(1, 4), st.integers(1, 300)),
        elements=st.floats(-(2.0**90), 2.0**90, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0]),
    )
)


@settings(max_examples=200, deadline=None)
@given(numbers)
def test_medians_are_those_of_numpy(rows: np.ndarray) -> None:
    expected = np.median(rows.astype(np.float64), axis=1)
    np.testing.assert_array_equal(medians(rows), expected)


@settings(max_examples=100, deadline=None)
@given(numbers, st.floats(0, 1))
def test_the_number_of_a_rank_is_the_one_when_sorted(rows: np.ndarray, share: float) -> None:
    rank = round(share * (rows.size - 1))
    assert of_rank(rows, rank) == np.sort(rows, axis=None)[rank]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [63, 64, 65, 1000, 1001])
def test_whole_numbers_ties_and_rows_that_are_not_in_a_row(kind: type, count: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.poisson(3.0, (count, 6)).astype(kind).T
    np.testing.assert_array_equal(medians(rows), np.median(rows, axis=1))
    away = np.abs(rows - np.median(rows, axis=1)[:, None])
    np.testing.assert_allclose(robust_sds(rows), 1.4826 * np.median(away, axis=1), rtol=1e-6)


def test_whole_numbers_of_other_types() -> None:
    rows = np.arange(200, dtype=np.int32)[None]
    assert medians(rows)[0] == 99.5
