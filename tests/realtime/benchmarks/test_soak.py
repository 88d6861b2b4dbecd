"""A server that is offered frames at a steady rate stays as it is."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from realtime.benchmarks.soak import Sample, SoakPlan, report, slope
from realtime.benchmarks.soak_command import soak
from realtime.recording.recordings import RecordingReader
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.errors import BundleError


def sample(seconds: float, **changes: float) -> Sample:
    given: dict[str, float] = {
        "server_memory_mib": 300.0, "server_files": 16, "server_threads": 10, "client_memory_mib": 200.0,
        "client_files": 20, "client_threads": 9, "latency_p50_ms": 20.0, "latency_p99_ms": 40.0, "answered": 20,
        "replaced": 0, "errors": 0,
    }  # fmt: skip
    return Sample(seconds, **{**given, **changes})  # type: ignore[arg-type]


def test_a_leak_is_a_slope_and_settling_is_not() -> None:
    plan = SoakPlan(minutes=10)
    leaking = [
        sample(s, server_memory_mib=300 + 60 * s / 3600 + (50 if s < 100 else 0), latency_p99_ms=40 + s / 10)
        for s in range(0, 600, 10)
    ]
    told = report(plan, leaking)
    assert told["slopes"]["server_memory_mib"]["per_hour"] == pytest.approx(60)
    assert told["slopes"]["server_files"]["per_hour"] == pytest.approx(0, abs=1e-9)
    assert told["slopes"]["server_files"]["smallest"] == told["slopes"]["server_files"]["largest"] == 16
    assert told["latency_p99_ms"]["ratio"] > 1.3
    assert told["counts"] == {"answered": 1200, "replaced": 0, "errors": 0}
    assert json.loads(json.dumps(told))["plan"]["minutes"] == 10


def test_the_error_of_a_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    hours = np.linspace(0, 1, 50)
    slopes = [slope(hours, rng.normal(0, 1, 50)) for _ in range(400)]
    spread = np.std([s["per_hour"] for s in slopes])
    assert np.mean([s["standard_error"] for s in slopes]) == pytest.approx(spread, rel=0.1)
    assert slope(hours[:2], hours[:2])["per_hour"] is None


@pytest.mark.slow  # one minute is the shortest soak that says anything
def test_fault_61_a_minute_at_20_hz_leaves_memory_files_and_threads_as_they_are(tmp_path: Path) -> None:
    try:
        load_bundle()
    except BundleError as error:
        pytest.skip(str(error))
    gc.collect()  # what earlier tests left is not to go while memory is watched
    record = tmp_path / "soak.h5"
    app = typer.Typer()
    app.command()(soak)
    ran = CliRunner().invoke(
        app, ["--minutes", "0.75", "--side-px", "192", "--threads", "1", "--record", str(record), "--json"]
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["restarts"] == told["refused"] == told["counts"]["errors"] == 0
    assert told["counts"]["answered"] > 20
    for name in ("server_files", "client_files", "server_threads", "client_threads"):
        watched = told["slopes"][name]
        assert watched["largest"] - watched["smallest"] <= 2, name
    for name in ("server_memory_mib", "client_memory_mib"):
        watched = told["slopes"][name]
        assert watched["largest"] < 1.15 * watched["smallest"], name
    assert told["slopes"]["server_memory_mib"]["largest"] < 1024
    assert told["recorded"]["lost"] == 0
    with RecordingReader(record) as recording:
        # The first frame, and those after the last look, are not in the samples.
        assert len(recording) == told["recorded"]["written"] > told["counts"]["answered"]
