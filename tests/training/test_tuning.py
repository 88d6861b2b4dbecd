"""Tuning helps where simulation and image differ, changes nothing or refuses where labels are wrong, and is repeatable."""

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
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]

import typer  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from stemctx_core.analysis import FrameAnalyzer  # noqa: E402
from stemctx_core.classifier.classifier import load_bundle, posterior_from  # noqa: E402
from stemctx_core.classifier.engine import OnnxRuntimeEngine  # noqa: E402
from stemctx_core.contrast.features import lifting  # noqa: E402
from stemctx_core.errors import InputError  # noqa: E402
from stemctx_core.judging.trained import TrainedRanges  # noqa: E402
from stemctx_core.labelling.hand_labels import HandLabel  # noqa: E402
from stemctx_core.reading import read_micrograph  # noqa: E402
from stemctx_core.simulation.library import shipped_library  # noqa: E402
from stemctx_core.training.config import TrainingConfig  # noqa: E402
from stemctx_core.training.nets import SCENE_INPUTS  # noqa: E402
from stemctx_core.training.stream import HELD_OUT, training_batch  # noqa: E402
from stemctx_core.training.tuning.bundle import tunable  # noqa: E402
from stemctx_core.training.tuning.commands import register  # noqa: E402
from stemctx_core.training.tuning.figures import Rendered  # noqa: E402
from stemctx_core.training.tuning.labels import LabelSet, read_labels  # noqa: E402
from stemctx_core.training.tuning.plan import TuningPlan  # noqa: E402
from stemctx_core.training.tuning.rungs import LADDER  # noqa: E402
from stemctx_core.training.tuning.shares import Drawn  # noqa: E402
from stemctx_core.training.tuning.tunable import Tunable, log_posterior  # noqa: E402
from stemctx_core.training.tuning.tune import Outcome, judge_labels, tune  # noqa: E402
from tests.training.tuning_support import (  # noqa: E402
    context,
    drawn,
    permuted,
    simulated_labels,
    ti_wse2_labels,
    written,
)

SMALL = TuningPlan(steps=60, folds=2, rehearsal_batches=20, held_out_batches=15, conformal_scenes=20)
GUESSED_MRAD = {"ADF1": (50.0, 120.0), "ADF2": (35.0, 70.0)}


#: Tunes by the cheapest change alone and writes.
_KILLED = """
import sys
from pathlib import Path
import torch
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.simulation.library import shipped_library
from stemctx_core.judging.trained import TrainedRanges
from stemctx_core.training.tuning.tune import tune
from stemctx_core.training.tuning.bundle import tunable, write_tuned
from stemctx_core.training.tuning.labels import read_labels
from stemctx_core.training.tuning.plan import TuningPlan
from stemctx_core.training.tuning.rungs import Sharpness
torch.set_num_threads(1)
base = load_bundle()
labels = read_labels([Path(sys.argv[1])], shipped_library(), TrainedRanges.from_card(base.card))
plan = TuningPlan(steps=40, folds=2, rehearsal_batches=5, held_out_batches=5, conformal_scenes=20)
tuning = tune(tunable(base), labels, plan, ladder=(Sharpness(),))
write_tuned(base, tuning, labels, plan, Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def hundred() -> list[HandLabel]:
    """About a hundred labels of two frames that were imaged under other angles than declared."""
    rng = np.random.default_rng(0)
    return [label for seed in (1, 2) for label in drawn(simulated_labels(seed), 60, rng)]


def _read(tmp_path: Path, labels: list[HandLabel], how: Drawn | None = None) -> LabelSet:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
    card = load_bundle().card
    return read_labels([written(path, labels)], shipped_library(), TrainedRanges.from_card(card), how)


def _app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def _surprise(model: Tunable, labels: LabelSet) -> float:
    judged = judge_labels([model], labels, np.zeros(len(labels), np.intp))
    return float(np.average(judged.surprise, weights=judged.weight))


@pytest.mark.slow  # two tunings and the export of four graphs: half a minute, minutes on a busy machine
@pytest.mark.timeout(900)
def test_a_hundred_labels_help_where_angles_are_wrong_and_nothing_is_forgotten(
    hundred: list[HandLabel], tmp_path: Path
) -> None:
    """From the files of labels to a bundle that judges frames, past a run that was killed while it wrote."""
    labels = written(tmp_path / "labels.jsonl", hundred)
    output, part = tmp_path / "tuned", tmp_path / ".tuned.part"
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(labels), str(output)]) as process:
        while not (part / "model.onnx").exists():
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert part.exists()
    assert not output.exists()

    settings = tmp_path / "settings.toml"
    settings.write_text("".join(f"{k} = {v}\n" for k, v in msgspec.structs.asdict(SMALL).items()))
    run = CliRunner().invoke(
        _app(), ["tune", str(labels), "--output", str(output), "--config", str(settings), "--json"]
    )
    assert run.exit_code == 0, run.output
    told = json.loads(run.output)
    assert told["outcome"] == "tuned"
    assert not part.exists()

    base, bundle = load_bundle(), load_bundle(output)
    held_out = _read(tmp_path, simulated_labels(3))
    before, after = (_surprise(tunable(b), held_out) for b in (base, bundle))
    print(f"\n{len(hundred)} labels; another frame: {before:.4f} → {after:.4f} nats; {told['words']}")
    print(f"rendered patches before {told['rendered_before']} and after {told['rendered_after']}")
    assert after < 0.85 * before
    assert not Rendered(**told["rendered_after"]).worse_than(Rendered(**told["rendered_before"]))

    card = bundle.card
    said = json.dumps(card) + (output / "CARD.md").read_text()
    assert str(tmp_path) not in said
    assert "labels.jsonl" not in said
    assert sum(card["tuning"]["counts"].values()) == card["tuning"]["labels"] == len(hundred)
    assert len(card["tuning"]["frames"]) == 2
    assert card["tuning"]["from"]["sha256"] == base.sha256
    assert FrameAnalyzer.shipped(bundle=output).model_name == f"candidate_scorer_tuned {bundle.sha256[:12]}"
    assert bundle.sha256 != base.sha256
    assert set(card["files"]) == set(base.card["files"])
    assert len(load_bundle(output, half=True).onnx_bytes) < len(bundle.onnx_bytes)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    hundred: list[HandLabel], tmp_path: Path
) -> None:
    model, found = tunable(load_bundle()), _read(tmp_path, hundred)
    quick = msgspec.structs.replace(SMALL, steps=5, rehearsal_batches=2, held_out_batches=2)
    plans = (quick, quick, msgspec.structs.replace(quick, seed=2))
    one, same, other = (tune(model, found, plan) for plan in plans)
    assert one.figures() == same.figures() != other.figures()
    np.testing.assert_array_equal(one.tried[-1].judged.surprise, same.tried[-1].judged.surprise)


def test_permuted_labels_are_refused_or_change_nothing(hundred: list[HandLabel], tmp_path: Path) -> None:
    wrong = permuted(hundred, np.random.default_rng(5))
    for strength in (1.0, 0.0):  # as it is, and without what holds the model back while it is fitted
        weak = msgspec.structs.replace(SMALL, rehearsal=strength, distillation=strength)
        told = tune(tunable(load_bundle()), _read(tmp_path, wrong), weak, ladder=LADDER[:2])
        print(f"\n{told.words}")
        assert told.outcome in {Outcome.REFUSED, Outcome.UNCHANGED}
        assert told.model is None
    assert told.outcome is Outcome.REFUSED
    assert "would forget" in told.words


def test_labels_of_what_is_as_simulated_change_hardly_anything(tmp_path: Path) -> None:
    labels = _read(tmp_path, simulated_labels(1, told_mrad=(50.0, 120.0))[::10])
    told = tune(tunable(load_bundle()), labels, msgspec.structs.replace(SMALL, steps=20))
    assert told.outcome in {Outcome.UNCHANGED, Outcome.TUNED}
    if told.rendered_after is not None:
        assert not told.rendered_after.worse_than(told.rendered_before)


def test_the_net_is_read_back_from_the_shipped_graph() -> None:
    """So that whoever has only the shipped bundle can tune it."""
    bundle = load_bundle()
    model, engine = tunable(bundle), OnnxRuntimeEngine(bundle.onnx_bytes, threads=1)
    worst = 0.0
    for number in range(4):
        batch = training_batch(TrainingConfig(scenes=4, repeats=4), HELD_OUT + 30_000_000 + number)
        with torch.no_grad():
            wanted = model.net.score(batch["features"], *(batch[n] for n in SCENE_INPUTS)).numpy()
        for scene in range(4):
            inputs = {n: batch[n][scene].numpy() for n in SCENE_INPUTS}
            logits = engine.run({"patches": batch["features"][scene].numpy() @ lifting(), **inputs})
            worst = max(worst, float(np.abs(posterior_from(logits) - posterior_from(wanted[scene])).max()))
    assert worst < 1e-3


def test_a_label_is_judged_as_its_frame_was(tmp_path: Path) -> None:
    """What a label says of its frame is enough: the model gives it the probabilities that the operator saw."""
    made = simulated_labels(1, told_mrad=(50.0, 120.0))
    found = _read(tmp_path, made, Drawn.TYPICAL)
    (scene,) = found.scenes
    told = log_posterior(tunable(load_bundle()), scene).exp().numpy()
    stored = np.array([list(found.kept[row].posterior.values()) for row in scene.rows])
    apart = np.abs(told - stored).max(axis=1)
    print(f"\n{len(apart)} labels: {apart.mean():.2g} in a probability on the mean, {apart.max():.2g} at most")
    assert apart.mean() < 5e-3
    assert (told.argmax(axis=1) == stored.argmax(axis=1)).mean() > 0.99


def test_labels_that_cannot_be_used_are_left_out_with_the_reason(
    hundred: list[HandLabel], tmp_path: Path
) -> None:
    replace = msgspec.structs.replace
    broken = replace(hundred[0], patch=np.full(1024, np.nan, "<f4").tobytes(), y_px=1.0)
    unscaled = replace(hundred[1], calibration=replace(hundred[1].calibration, gain=0.0), y_px=2.0)
    beyond = context("MoSe2", ("V",), 300.0, (80.0, 200.0))
    untrained = replace(hundred[2], context=beyond, y_px=3.0)
    elsewhere = replace(
        hundred[3], label=next(x.label for x in hundred if x.sublattice != hundred[3].sublattice), y_px=4.0
    )
    twice = replace(hundred[4], time_utc="later")
    found = _read(tmp_path, [*hundred, broken, unscaled, untrained, elsewhere, twice])
    assert len(found) == len(hundred)
    assert sum(found.left_out.values()) == 5
    assert any("not trained on" in reason for reason in found.left_out)
    assert found.weighted
    assert np.mean([float(w) for s in found.scenes for w in s.weight]) == pytest.approx(1.0)
    with pytest.raises(InputError, match="No label can be used: 1 × a patch that holds NaN"):
        _read(tmp_path, [broken])
    with pytest.raises(InputError, match="20 are needed"):
        tune(tunable(load_bundle()), _read(tmp_path, hundred[:10]), SMALL)
    unweighed = [replace(label, inclusion_probability=None) for label in hundred]
    assert _read(tmp_path, unweighed).drawn is Drawn.TYPICAL
    assert not _read(tmp_path, unweighed).weighted


def test_stripes_keep_neighbours_in_one_group(hundred: list[HandLabel], tmp_path: Path) -> None:
    found = _read(tmp_path, hundred)
    for frame in {label.frame.scan_id for label in found.kept}:
        rows = [i for i, label in enumerate(found.kept) if label.frame.scan_id == frame]
        assert len({int(found.fold_group[i]) for i in rows}) == 10
        ordered = sorted(rows, key=lambda i: found.kept[i].y_px)
        assert (np.diff(found.fold_group[ordered]) >= 0).all()


def test_the_gate_names_what_got_worse() -> None:
    before = Rendered(1000, 0.90, 0.30, 0.010)
    assert not Rendered(1000, 0.896, 0.309, 0.014).worse_than(before)
    for worse in (
        Rendered(1000, 0.89, 0.3, 0.01),
        Rendered(1000, 0.9, 0.32, 0.01),
        Rendered(1000, 0.9, 0.3, 0.03),
    ):
        assert len(worse.worse_than(before)) == 1
    assert len(Rendered(1000, float("nan"), float("nan"), float("nan")).worse_than(before)) == 3


def test_a_folder_that_is_there_and_settings_that_are_wrong_are_refused(
    hundred: list[HandLabel], tmp_path: Path
) -> None:
    labels, there = written(tmp_path / "labels.jsonl", hundred), tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    settings = tmp_path / "settings.toml"
    settings.write_text("speed = 3")
    run, app = CliRunner(), _app()
    for arguments, words in (
        (["--output", str(there)], "is there already"),
        (["--output", str(tmp_path / "new"), "--config", str(settings)], "docs/tuning.md"),
        (["--output", str(tmp_path / "new"), "--drawn", "somehow"], "typical, labels, balanced"),
        (["--output", str(tmp_path / "new"), "--from", str(tmp_path)], "cannot be read"),
    ):
        failed = run.invoke(app, ["tune", str(labels), *arguments])
        assert failed.exit_code == 1
        assert words in str(failed.exception)
    assert (there / "mine.txt").read_text() == "mine"


@pytest.mark.real
@pytest.mark.slow  # several thousand labels, tuned and judged: minutes on a busy machine
@pytest.mark.timeout(900)
@pytest.mark.parametrize("detector", ["ADF1"])
def test_half_of_a_real_frame_tunes_the_other_half(detector: str, real_data: Path, tmp_path: Path) -> None:
    """People's labels of the upper half; what they say of the lower one, before and after."""
    image = read_micrograph(real_data / f"TiWSe2_1028_2_{detector}.tif").image
    made = ti_wse2_labels(real_data, image, context("WSe2", ("Ti",), 80.0, GUESSED_MRAD[detector]))
    middle = float(np.median([label.y_px for label in made]))
    upper = _read(tmp_path, [label for label in made if label.y_px < middle])
    lower = _read(tmp_path, [label for label in made if label.y_px >= middle + 15])
    model = tunable(load_bundle())
    told = tune(model, upper, msgspec.structs.replace(SMALL, patches=256))
    print(
        f"\n{detector}: {len(upper)} labels {upper.counts()}, {len(lower)} others; {told.outcome}: {told.words}"
    )
    print(json.dumps(told.figures()["tried"]))
    for name, judge in (("before", model), ("after", told.model or model)):
        print(f"{detector} {name}: {_words(judge, lower)}")
    assert told.outcome is not Outcome.TUNED or _surprise(told.model or model, lower) < _surprise(model, lower)


def _words(model: Tunable, labels: LabelSet) -> str:
    (scene,) = labels.scenes
    told = log_posterior(model, scene).exp().numpy()
    species = list(labels.kept[0].posterior)
    best = np.array(species)[told.argmax(axis=1)]
    true = np.array([labels.kept[row].label for row in scene.rows]) == "vac_Se"
    figures = []
    for name, those in (("vac_Se", ["vac_Se"]), ("vac_Se or O_Se", ["vac_Se", "O_Se"])):
        found = np.isin(best, those)
        precision, recall = np.mean(true[found]) if found.any() else 0.0, np.mean(found[true])
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        figures.append(f"{name} precision {precision:.3f} recall {recall:.3f} F1 {f1:.3f}")
    return f"NLL {_surprise(model, labels):.4f}; " + "; ".join(figures)
