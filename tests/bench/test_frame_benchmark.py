"""`stemctx benchmark frame`: a real server, every stage, and vacant sites that peaks miss."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from realtime.benchmarks import commands as benchmark_commands
from realtime.benchmarks.frames import RenderedField
from realtime.benchmarks.run import STAGES


@pytest.fixture(scope="module")
def figures() -> dict[str, object]:
    told = CliRunner().invoke(_app(), ["benchmark", "frame", "--sizes", "256", "--repeats", "3", "--json"])
    assert told.exit_code == 0, told.output
    parsed: dict[str, object] = json.loads(told.stdout)
    return parsed


def _app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    benchmark_commands.register(app)
    return app


def test_every_stage_and_the_total_are_told(figures: dict) -> None:
    size = figures["sizes"][0]
    assert size["side_px"] == 256
    assert size["sites"] > 400
    for kind in ("first_frame", "tracked_frame"):
        stages = size[kind]["stages_ms"]
        assert tuple(stages) == STAGES
        assert all(0 <= s["p50"] <= s["p95"] for s in stages.values())
        assert sum(s["p50"] for s in stages.values()) <= 1.5 * size[kind]["total_ms"]["p95"]
    assert size["server_memory_mib"]["largest"] < 1024


def test_vacant_sites_are_found_that_peaks_miss(figures: dict) -> None:
    vacant = figures["sizes"][0]["vacant_sites"]
    assert vacant["true"] > 0
    assert vacant["found_by_stemctx"] == vacant["true"]
    if "found_by_peaks" in vacant:
        assert vacant["found_by_peaks"] < vacant["true"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the alternative needs PyTorch")
def test_the_alternative_runs_the_same_net(figures: dict) -> None:
    from stemctx_core.classifier.classifier import Classifier, load_bundle
    from stemctx_core.encoding.encode import encode
    from stemctx_core.simulation.library import shipped_library
    from stemctx_core.training.restored import eager

    size = figures["sizes"][0]
    assert set(size["alternative"]["stages_ms"]) == {"peaks", "patches", "network"}
    assert size["tracked_frame"]["times_faster"] > 0
    bundle, scene = load_bundle(), encode(shipped_library(), RenderedField(256, 0).scene)
    patches = np.random.default_rng(0).normal(0.5, 0.2, (50, 1024)).astype(np.float32)
    ours = Classifier(bundle).engine.run({"patches": patches, **scene.inputs()})
    assert np.abs(eager(bundle.onnx_bytes, scene.inputs(), 1)(patches) - ours).max() < 1e-3


def test_sizes_that_cannot_be_are_told() -> None:
    told = CliRunner().invoke(_app(), ["benchmark", "frame", "--sizes", "512,lots"])
    assert told.exit_code != 0
    assert "--sizes 512,lots cannot be" in str(told.exception)
