"""Training makes progress, goes on to the same curve after a kill, and exports what it trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.torch

from stemctx_core.classifier.baselines import load_baselines  # noqa: E402
from stemctx_core.classifier.classifier import Classifier, load_bundle  # noqa: E402
from stemctx_core.classifier.feature_scorer import FeatureScorer  # noqa: E402
from stemctx_core.contrast.features import projection  # noqa: E402
from stemctx_core.dataset.groups import MISSING_RATES  # noqa: E402
from stemctx_core.encoding.encode import EncodedScene  # noqa: E402
from stemctx_core.errors import InputError  # noqa: E402
from stemctx_core.training.bundles import write_baselines, write_bundle  # noqa: E402
from stemctx_core.training.checkpoint import Progress  # noqa: E402
from stemctx_core.training.config import TrainingConfig, read_config  # noqa: E402
from stemctx_core.training.loop import train  # noqa: E402
from stemctx_core.training.nets import SCENE_INPUTS, Nets  # noqa: E402
from stemctx_core.training.stream import HELD_OUT, training_batch  # noqa: E402
from stemctx_core.training.temperature import better_weights, fit_temperatures  # noqa: E402

TINY = TrainingConfig(
    patches=24 * 2 * 4 * 7, scenes=2, repeats=4, width=16, token=16, layers=1, checkpoint_s=0.2
)


def _log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        # A constant on all scores, which the softmax takes out: its gradient is rounding, and Adam makes steps of it.
        if name != "scorer.correction.5.bias":
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_to_the_same_curve(tmp_path: Path) -> None:
    """SIGKILL of a real process in the middle; what the second one does after it is what one alone would have done."""
    nets, _, progress = train(TINY, tmp_path / "whole", workers=0)
    program = (
        "import sys; from pathlib import Path; from stemctx_core.training.loop import train; "
        "from stemctx_core.training.config import read_config; "
        "train(read_config(Path(sys.argv[1])), Path(sys.argv[2]), 0)"
    )
    toml = tmp_path / "tiny.toml"
    values = msgspec.structs.asdict(TINY)
    toml.write_text("".join(f"{k} = {str(v).lower()}\n" for k, v in values.items()))
    place = tmp_path / "killed" / "checkpoint.pt"
    with subprocess.Popen([sys.executable, "-c", program, str(toml), str(place.parent)]) as process:
        while not place.exists():
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    resumed, _, again = train(TINY, place.parent, workers=0)
    assert again.patches == progress.patches
    _assert_same_weights(nets, resumed)
    one, other = _log(tmp_path / "whole"), _log(place.parent)
    assert [line["step"] for line in one] == [line["step"] for line in other] == [24]
    for a, b in zip(one, other, strict=True):
        assert a["losses"] == pytest.approx(b["losses"], rel=1e-3)
    assert list((place.parent / "events").iterdir())


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(TINY, patches=6 * 2 * 4 * 7, baselines=False)
    alone, _, _ = train(plan, tmp_path / "alone", workers=0)
    together, _, _ = train(plan, tmp_path / "together", workers=2)
    for a, b in zip(alone.state_dict().values(), together.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.timeout(900)
def test_two_processes_share_the_work_and_end_with_the_same_weights(tmp_path: Path) -> None:
    program = tmp_path / "two.py"
    program.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from stemctx_core.training.config import TrainingConfig\n"
        "from stemctx_core.training.loop import train\n"
        "from stemctx_core.training.processes import joined_processes\n"
        "plan = TrainingConfig(patches=6 * 2 * 2 * 4 * 7, scenes=2, repeats=4, width=16, token=16, layers=1)\n"
        "folder = Path(sys.argv[1])\n"
        "with joined_processes() as processes:\n"
        "    nets, _, progress = train(plan, folder, 0, None, processes)\n"
        "    torch.save((progress.step, nets.state_dict()), folder / f'{processes.rank}.pt')\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        str(program),
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    (steps, one), (_, other) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert steps == 6
    for a, b in zip(one.values(), other.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_another_plan_or_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(TINY, patches=2 * 2 * 4 * 7, baselines=False)
    train(plan, tmp_path, workers=0)
    with pytest.raises(InputError, match=r"another plan \(learning_rate\)"):
        train(msgspec.structs.replace(plan, learning_rate=1e-4), tmp_path, workers=0)
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read"):
        train(plan, tmp_path, workers=0)


def test_a_batch_is_a_pure_function_of_its_number_and_hides_values() -> None:
    first, second = training_batch(TINY, 5), training_batch(TINY, 5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["features"][:, :4], training_batch(TINY, 6)["features"][:, :4])
    assert sum(MISSING_RATES.values()) > 0.3
    lengths = {training_batch(TINY, k)["mean"].shape[1] for k in range(25)}
    assert {5, 7} & lengths
    assert len(lengths) >= 4


def test_configurations_are_read_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.toml"
    path.write_text("patches = 1000\nlayers = 0\n")
    assert read_config(path) == TrainingConfig(patches=1000, layers=0)
    for text in ("patches = 0", "speed = 3", "patches = 'many'", "patches ="):
        path.write_text(text)
        with pytest.raises(InputError, match=r"stemctx train --help"):
            read_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.timeout(900)  # three graphs of the scorer and four baselines
def test_export_agrees_with_torch(tmp_path: Path) -> None:
    nets = Nets(TINY).eval()
    for p in nets.parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, std=0.2)
    batches = [training_batch(TINY, HELD_OUT + k) for k in range(6)]
    nets, losses = better_weights(nets, Nets(TINY).eval(), batches)
    assert losses["scorer"]["running_mean"] != losses["scorer"]["as_trained"]
    temperatures = {name: fit_temperatures(nets, name, batches) for name in nets.names}
    progress = Progress(step=1, patches=10)
    card = write_bundle(nets, TINY, progress, tmp_path / "b", "test", temperatures.pop("scorer"), {})
    write_baselines(nets, TINY, progress, tmp_path / "b" / "baselines", temperatures, {})
    assert load_bundle(tmp_path / "b").sha256 == card["sha256"]
    classifier, baselines = (
        Classifier(load_bundle(tmp_path / "b")),
        load_baselines(tmp_path / "b" / "baselines"),
    )
    bundle = classifier.bundle
    assert bundle.scene_onnx_bytes is not None
    assert bundle.features_onnx_bytes is not None
    of_features = FeatureScorer(classifier.engine, bundle.scene_onnx_bytes, bundle.features_onnx_bytes)
    lift = np.linalg.pinv(projection().T).astype(np.float32)
    for batch in batches:  # candidate lists of different length
        with torch.inference_mode():
            expected = nets.logits("scorer", batch)[0].reshape(2, -1, batch["mean"].shape[1])
            image = nets.logits("image", batch)[0].reshape(2, -1, 30)
        for g in range(2):
            patches = batch["features"][g].numpy() @ lift
            scene = {name: batch[name][g].numpy() for name in SCENE_INPUTS}
            logits = classifier.engine.run({"patches": patches, **scene})
            encoded = EncodedScene(**scene, reference=1.0, candidates=())
            by_feature = of_features.logits(batch["features"][g].numpy(), encoded)
            np.testing.assert_allclose(by_feature, logits, atol=1e-2, rtol=1e-3)
            told, wanted = (np.exp(x - x.max(axis=1, keepdims=True)) for x in (logits, expected[g].numpy()))
            told, wanted = told / told.sum(axis=1, keepdims=True), wanted / wanted.sum(axis=1, keepdims=True)
            assert np.abs(told - wanted).max() < 5e-3
            run = baselines["image"].engine.run({"patches": patches, "context": scene["context"]})
            np.testing.assert_allclose(run, image[g].numpy(), atol=2e-3, rtol=1e-3)


def test_the_parts_of_the_net_are_of_one_size() -> None:
    nets = Nets(TrainingConfig())
    scorer = nets.scorer.per_patch_parameters
    for net in nets.baselines.values():
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(scorer, rel=0.2)


@pytest.mark.slow  # trains, exports and evaluates through the command line: about a minute
@pytest.mark.timeout(600)
def test_the_command_trains_a_model_that_classifies(tmp_path: Path) -> None:
    command = [
        sys.executable, "-c", "from stemctx_core.cli import main; main()", "train", "--quick",
        "--patches", "100000", "--workers", "0",
        "--output", str(tmp_path / "model"), "--work-folder", str(tmp_path / "work"),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert run.returncode == 0, run.stderr
    assert "576 cases" in run.stdout
    card = load_bundle(tmp_path / "model").card
    figures = card["figures"]["benchmark"]
    assert {"balanced", "prevalence"} <= set(card["conformal"])
    at = {(f["labels"], f["dose_e_per_angstrom2"]): f["scorer"]["accuracy"]["value"] for f in figures}
    assert at["L7", 1e5] > 0.9
    assert at["L5 far-Z", 1e5] > 0.97
