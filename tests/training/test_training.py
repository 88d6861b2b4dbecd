"""Training makes progress, resumes exactly, and exports what it trained."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.torch

from stemctx_core.classifier import Classifier, load_bundle  # noqa: E402
from stemctx_core.training.export import fit_temperature, write_bundle  # noqa: E402
from stemctx_core.training.loop import TrainingPlan, train, training_batch  # noqa: E402
from stemctx_core.training.model import CandidateScorer  # noqa: E402

TINY = TrainingPlan(steps=100, groups=1, repeats=8, width=16)


def test_the_loss_falls_and_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    longer = replace(TINY, steps=200)
    whole = train(longer, tmp_path / "whole", workers=0)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [100, 200]

    class Killed(Exception):
        pass

    def kill_at(step: int, *_: object) -> None:
        if step == 150:
            raise Killed

    with pytest.raises(Killed):
        train(longer, tmp_path / "killed", workers=0, progress=kill_at)
    resumed = train(longer, tmp_path / "killed", workers=0)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    inputs, label = training_batch(longer, 999)
    with torch.inference_mode():
        trained = torch.nn.functional.cross_entropy(whole(**inputs).flatten(0, -2), label.flatten())
    assert trained < np.log(inputs["mean"].shape[1]) / 2


def test_another_plan_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    train(TINY, tmp_path, workers=0)
    with pytest.raises(ValueError, match="another plan"):
        train(replace(TINY, learning_rate=1e-4), tmp_path, workers=0)


def test_export_agrees_with_torch(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = CandidateScorer(24).eval()
    for p in net.correction.parameters():
        torch.nn.init.normal_(p, std=0.3)
    card = write_bundle(net, TINY, tmp_path / "bundle", "test", fit_temperature(net, TINY, 1), {})
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.sha256 == card["sha256"]
    classifier = Classifier(bundle)
    agree, total = 0, 0
    for step in range(4):  # candidate lists of different length
        inputs, _ = training_batch(TINY, step)
        with torch.inference_mode():
            expected = torch.softmax(net(**inputs), dim=-1).numpy()
        for g in range(TINY.groups):
            logits = classifier.engine.run({k: v[g].numpy() for k, v in inputs.items()})
            told = np.exp(logits - logits.max(axis=1, keepdims=True))
            told /= told.sum(axis=1, keepdims=True)
            assert np.abs(told - expected[g]).max() < 1e-3
            agree += int((told.argmax(axis=1) == expected[g].argmax(axis=1)).sum())
            total += len(told)
    assert agree / total >= 0.999


@pytest.mark.slow  # trains, exports and evaluates through the command line: about a minute
@pytest.mark.timeout(600)
def test_the_command_trains_a_model_that_classifies(tmp_path: Path) -> None:
    command = [
        sys.executable, "-c", "from stemctx_core.cli import main; main()", "train", "--quick", "--steps", "60",
        "--workers", "0", "--output", str(tmp_path / "model"), "--work-folder", str(tmp_path / "work"),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert run.returncode == 0, run.stderr
    assert "576 cases" in run.stdout
    figures = load_bundle(tmp_path / "model").card["figures"]["benchmark"]
    at = {(f["labels"], f["dose_e_per_angstrom2"]): f["accuracy"] for f in figures}
    assert at["L7", 1e5] > 0.9
    assert at["L5 far-Z", 1e5] > 0.97
