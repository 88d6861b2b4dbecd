"""Histograms: fixed memory, quantiles good to a bucket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.watching.telemetry import BUCKET_EDGES_MS, LatencyHistogram, Telemetry


@pytest.mark.parametrize("fraction", [0.5, 0.95])
def test_quantiles_are_good_to_a_bucket(fraction: float) -> None:
    durations = np.random.default_rng(0).lognormal(3, 1, 20_000)
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(float(duration))
    assert histogram.quantile_ms(fraction) == pytest.approx(np.quantile(durations, fraction), rel=0.2)


@given(st.lists(st.floats(0, 1e7), max_size=50))
def test_every_duration_is_in_one_bucket(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    status = histogram.status(with_counts=True)
    assert sum(status.counts) == status.count == len(durations)
    assert len(status.counts) == len(BUCKET_EDGES_MS) + 1
    assert status.p50_ms <= status.p95_ms <= status.max_ms == max(durations, default=0.0)


def test_stray_stage_names_do_not_fill_the_memory() -> None:
    telemetry = Telemetry()
    for number in range(1000):
        telemetry.time(f"stage {number}", 1.0)
    assert len(telemetry.stages()) == 64
