"""The benchmark of what live flags cost Nion Swift: that it measures, not how fast this machine is."""

from __future__ import annotations

import json

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from nionswift_plugin.stemctx.harm.report import HarmReport
from nionswift_plugin.stemctx.live import commands as live
from realtime.benchmarks import commands as benchmark_commands
from tests.plugin.swift import swift  # starts the pools that Nion keeps for the life of the process

REPORT = HarmReport(
    side_px=512,
    frames=10,
    answered=10,
    callback_ms=[0.1] * 199 + [5.0],
    callback_cpu_ms=[0.08] * 200,
    copy_ms=[0.05] * 200,
    window_run_ms=[0.5] * 30,
    window_cpu_ms=[0.3] * 30,
    frames_per_s_off=2.0,
    frames_per_s_on=1.99,
    writes_off=4,
    writes_on=4,
    documents_made=0,
    cycles=20,
    leaks="",
    load_average=0.5,
)


def test_figures_are_held_against_their_targets() -> None:
    assert swift is not None
    assert all(line.met for line in REPORT.lines())
    assert REPORT.window_ms_per_frame == pytest.approx(1.5)
    assert REPORT.window_cpu_ms_per_frame == pytest.approx(0.9)
    assert REPORT.rate_change == pytest.approx(-0.005)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"callback_cpu_ms": [0.1] * 90 + [2.0] * 10}, 0),
        ({"callback_ms": [0.1] * 90 + [2.0] * 10}, 1),
        ({"window_cpu_ms": [3.0] * 10}, 2),
        ({"window_run_ms": [3.0] * 10}, 3),
        ({"frames_per_s_on": 1.9}, 4),
        ({"writes_on": 14}, 5),
        ({"documents_made": 1}, 5),
        ({"leaks": "threads: stemctx-tap"}, 6),
    ],
)
def test_what_is_missed_is_said(change: dict[str, object], missed: int) -> None:
    lines = msgspec.structs.replace(REPORT, **change).lines()
    assert [k for k, line in enumerate(lines) if not line.met] == [missed]


def test_the_command_measures_on_nion_swift() -> None:
    """A thread of Nion's own pools must not be left either, so the fixture of all tests holds here too."""
    app = typer.Typer()
    benchmark_commands.register(app)
    live.register(app)
    told = CliRunner().invoke(
        app,
        ["benchmark", "swift", "--json", "--cycles", "1", "--frames", "3", "--turns", "1", "--dwell-us", "3"],
    )
    assert told.exit_code == 0, told.output
    figures = json.loads(told.stdout.splitlines()[-1])
    assert figures["frames"] == 3
    assert figures["calls"] >= 3
    assert figures["answered"] >= 1
    assert figures["callback_cpu_ms"]["p50"] <= figures["callback_cpu_ms"]["p99"]
    assert figures["callback_ms"]["p50"] <= figures["callback_ms"]["p99"]
    assert figures["documents_made"] == 0
    assert figures["leaks"] == ""
    assert figures["frames_per_s"]["on"] > 0
    assert figures["frames_per_s"]["off"] > 0
