"""`stemctx replay`: recorded frames through a real server again, and whether they are judged as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from realtime.benchmarks.frames import RenderedField
from realtime.client import DefectClient
from realtime.client.supervisor import LocalServer
from realtime.recording.commands import register
from realtime.recording.comparison import compare
from realtime.recording.recorder import FrameRecorder
from realtime.recording.recordings import RecordingReader
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.context import ImagingContext
from stemctx_core.errors import BundleError, InputError
from stemctx_core.results import FrameIdentity, Refusal
from tests.realtime.support import PATIENCE_S, KnownAnswers, context, image, refused, result, serving, wait_for


def run(*options: object) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    register(app)
    ran = CliRunner().invoke(app, ["replay", *map(str, options)])
    return ran.exit_code, ran.stdout, ran.exception


def told(*options: object) -> tuple[int, dict[str, Any]]:
    code, output, _ = run(*options, "--json")
    return code, json.loads(output)


def recorded(path: Path, frames: int = 4) -> Path:
    """A recording of answers that are known."""
    with serving() as server, FrameRecorder(path) as recorder:
        with DefectClient(f"tcp://127.0.0.1:{server.port}", recorder=recorder) as client:
            for number in range(frames):
                client.analyze(
                    image(5 + number), context(), FrameIdentity("s", number, 64, (64, 64)), timeout_s=PATIENCE_S
                )
        wait_for(lambda: recorder.status.written == frames)
    return path


def test_a_real_recording_is_judged_as_before(tmp_path: Path) -> None:
    try:
        sha256 = load_bundle().sha256
    except BundleError as error:
        pytest.skip(str(error))
    field, path, again = RenderedField(192, 1), tmp_path / "live.h5", tmp_path / "again.h5"
    with LocalServer(threads=1) as server, FrameRecorder(path) as recorder:
        with DefectClient(server.address, timeout_s=30, recorder=recorder) as client:
            for number in range(3):
                client.analyze(field.frame(number), field.context, field.identity(number))
        wait_for(lambda: recorder.status.written == 3)
    code, report = told(path, "--threads", 1, "--output", again)
    assert code == 0, report
    assert (report["recorded"], report["compared"], report["disagreeing"]) == (3, 3, 0)
    assert report["sites"] == report["matched"] > 300
    assert report["decisions_changed"] == 0
    assert report["largest_posterior_difference"] <= 1e-3
    assert report["models_before"] == [report["model_now"]] == [sha256]
    with RecordingReader(path) as one, RecordingReader(again) as other:
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first.image, second.image)
            assert first.header.context == second.header.context


@pytest.mark.parametrize("speed", ["max", "1", "50"])
def test_the_same_server_says_the_same_at_any_speed(tmp_path: Path, speed: str) -> None:
    path = recorded(tmp_path / "live.h5")
    with serving() as server:
        code, report = told(path, "--server", f"tcp://127.0.0.1:{server.port}", "--speed", speed)
    assert code == 0, report
    assert report["compared"] + report["replaced"] == report["recorded"] == 4
    assert report["largest_posterior_difference"] == 0.0


def test_a_server_that_judges_otherwise_is_noticed(tmp_path: Path) -> None:
    class Others(KnownAnswers):
        def analyze(self, image: Any, given: ImagingContext, frame: FrameIdentity | None = None) -> Any:
            number = frame.frame_index if frame else 0
            if number == 1:
                raise ArithmeticError("asked to")
            made = super().analyze(image, given, frame)
            if number == 2:
                made = replace(made, sites=replace(made.sites, decision=(made.sites.decision + 1) % 3))
            return made

    path = recorded(tmp_path / "live.h5")
    with serving(Others(model_sha256="1" * 64)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        code, report = told(path, "--server", address)
        plain_code, output, _ = run(path, "--server", address)
    assert code == plain_code == 1
    assert report["disagreeing"] == 2
    assert [f["comparison"] is None for f in report["frames"]] == [False, True, False, False]
    assert "asked to" in report["frames"][1]["error"]
    assert report["frames"][2]["comparison"]["decisions_changed"] == 7
    assert report["models_before"] != [report["model_now"]]
    assert "frame 3: 7 and 7 sites, 7 matched, 7 decisions changed" in output
    assert "does not agree" in output


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    path = recorded(tmp_path / "live.h5", 1)
    for options, words in {
        (tmp_path / "none.h5",): "cannot be read",
        (path, "--speed", "0"): "positive",
        (path, "--speed", "fast"): "'max'",
        (path, "--output", path): "there already",
        (path, "--server", "tcp://127.0.0.1:1", "--threads", "2"): "Leave",
    }.items():
        _, _, error = run(*options)
        assert isinstance(error, InputError)
        assert words in str(error)


def test_results_are_compared_site_by_site() -> None:
    one = result(50, seed=3)
    assert compare(one, one, True).agrees(0.0)
    order = np.random.default_rng(0).permutation(50)
    columns = ("y_px", "x_px", "sublattice", "posterior", "best", "decision", "reason")
    shuffled = replace(one, sites=replace(one.sites, **{c: getattr(one.sites, c)[order] for c in columns}))
    assert compare(one, shuffled, True).agrees(0.0)
    moved = one.sites.y_px.copy()
    moved[7] += 30
    apart = compare(one, replace(one, sites=replace(one.sites, y_px=moved)), True)
    assert apart.matched == 49
    assert not apart.agrees(1.0)
    posterior = one.sites.posterior.copy()
    posterior[3, 0] += 0.01
    near = compare(one, replace(one, sites=replace(one.sites, posterior=posterior)), True)
    assert near.largest_posterior_difference == pytest.approx(0.01, abs=1e-6)
    assert near.agrees(0.02)
    assert not near.agrees(0.005)


def test_another_order_of_candidates_is_no_difference() -> None:
    one = result(50, seed=3)
    order = np.arange(len(one.candidates))[::-1]
    sites = replace(
        one.sites,
        posterior=one.sites.posterior[:, order],
        best=(len(order) - 1 - one.sites.best).astype(np.int16),
    )
    listed: tuple[Candidate, ...] = one.candidates[::-1]
    assert compare(one, replace(one, candidates=listed, sites=sites), True).agrees(0.0)


def test_refusals_are_compared_by_their_code() -> None:
    one = refused()
    assert compare(one, one, True).agrees(0.0)
    other = replace(one, refusal=Refusal("too_dark", "Dark.", "More dose."))
    assert not compare(one, other, True).agrees(1.0)
    assert not compare(one, result(0), True).agrees(1.0)
