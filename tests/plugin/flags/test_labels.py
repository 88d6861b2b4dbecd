"""Labels by hand: what they hold, and that the file outlives whoever writes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.flags.labels import label_of, species_at
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.errors import InputError
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.hand_labels import HandLabel, Judgement
from stemctx_core.results import Decision, FrameIdentity, FrameResult

SHAPE = (192, 256)


@lru_cache(maxsize=1)
def seen() -> tuple[FrameResult, np.ndarray]:
    with HeadlessMicroscope(MicroscopeSettings(size=SHAPE, fov_nm=5.0)) as microscope:
        frame = microscope.record()[0]
        reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
        context = reader.read(frame.metadata, pixel_size_nm=(5.0 / 256, 5.0 / 256))
        image = np.array(frame.data)
    result = FrameAnalyzer.shipped().analyze(image, context, FrameIdentity("scan", 0, SHAPE[0], SHAPE))
    assert len(result.where(Decision.FLAG)) > 2
    return result, image


def a_label(n: int = 0, judgement: Judgement = Judgement.ACCEPT) -> HandLabel:
    result, image = seen()
    return label_of(result, int(result.where(Decision.FLAG)[n]), image, judgement)


def test_a_label_holds_what_training_needs() -> None:
    result, image = seen()
    site = int(result.where(Decision.FLAG)[0])
    label = a_label()
    assert label.label == label.found == result.species(site)
    assert label.judgement is Judgement.ACCEPT
    assert label.posterior == pytest.approx(
        {c.species: float(p) for c, p in zip(result.candidates, result.sites.posterior[site], strict=True)}
    )
    assert label.frame == result.frame
    assert label.context == result.context
    assert label.calibration == result.calibration
    assert label.model == result.model
    patch = label.image
    assert patch.shape == (32, 32)
    # It is cut of the frame in the frame's own units, around the site.
    y, x = round(label.y_px), round(label.x_px)
    around = image[y - 3 : y + 4, x - 3 : x + 4].mean()
    assert float(patch[13:19, 13:19].mean()) == pytest.approx(float(around), rel=0.3)


def test_the_patch_is_the_one_that_was_judged() -> None:
    """What is cut again from the frame judges as the frame did."""
    result, _ = seen()
    flags = result.where(Decision.FLAG)[:3]
    cut = CutPatches(
        np.stack([a_label(n).image for n in range(len(flags))]),
        result.sites.y_px[flags],
        result.sites.x_px[flags],
        result.sites.sublattice[flags],
    )
    again = FrameAnalyzer.shipped().analyze_patches(cut, result.context, result.frame)
    if again.refusal is None:  # so few patches may not show the scale of the frame
        assert [again.species(i) for i in range(len(flags))] == [result.species(int(i)) for i in flags]
    assert float(np.std(cut.patches)) > 0


def test_a_rejected_flag_is_the_hosts_own_column_and_a_relabelled_one_what_is_said() -> None:
    result, image = seen()
    site = int(result.where(Decision.FLAG)[0])
    possible = species_at(result, site)
    assert a_label(judgement=Judgement.REJECT).label == possible[0]
    assert label_of(result, site, image, Judgement.RELABEL, possible[-1]).label == possible[-1]
    with pytest.raises(InputError, match=r"'U_W' cannot stand at this site. Choose one of"):
        label_of(result, site, image, Judgement.RELABEL, "U_W")


def test_a_frame_that_shows_no_lattice_gives_no_label() -> None:
    result, image = seen()
    site = int(result.where(Decision.FLAG)[0])
    noise = np.random.default_rng(0).poisson(100, image.shape).astype(np.float32)
    with pytest.raises(InputError, match="not found again"):
        label_of(result, site, noise, Judgement.ACCEPT)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "labels.jsonl"
    given = [a_label(0), a_label(1), a_label(0, Judgement.REJECT)]
    for label in given:
        hand_labels.append(path, label)
    found = hand_labels.read(path)
    assert found.labels == tuple(given)
    assert found.damaged == 0
    assert len(path.read_bytes().splitlines()) == 3
    last = hand_labels.latest(found.labels)
    assert [label.judgement for label in last] == [Judgement.REJECT, Judgement.ACCEPT]


def test_a_line_that_a_crash_cut_short_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    for label in (a_label(0), a_label(1)):
        hand_labels.append(path, label)
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    found = hand_labels.read(path)
    assert len(found.labels) == 1
    assert found.damaged == 1
    hand_labels.append(path, a_label(2))
    found = hand_labels.read(path)
    assert [label.y_px for label in found.labels] == [a_label(0).y_px, a_label(2).y_px]
    assert found.damaged == 1


@pytest.mark.parametrize(
    "line", [b"", b"null", b"{}", b"\xff\xfe", b"x" * 200_000, b'{"format": 1}', b"[" * 5000], ids=repr
)
def test_a_line_that_is_no_label_is_counted_and_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line + b"\n")
    hand_labels.append(path, a_label())
    found = hand_labels.read(path)
    assert found.labels == (a_label(),) or found.labels[0].y_px == a_label().y_px
    assert found.damaged >= 1


def test_a_label_of_another_format_or_with_another_patch_is_passed_over(tmp_path: Path) -> None:
    label = a_label()
    for wrong in (
        msgspec.structs.replace(label, format=2),
        msgspec.structs.replace(label, patch=b"123"),
        msgspec.structs.replace(label, label="U_W"),
    ):
        path = tmp_path / "labels.jsonl"
        path.write_bytes(msgspec.json.encode(wrong) + b"\n")
        assert hand_labels.read(path) == hand_labels.LabelFile((), 1)


def test_a_key_of_a_newer_version_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    told = msgspec.to_builtins(a_label())
    path.write_bytes(msgspec.json.encode({**told, "operator": "somebody"}) + b"\n")
    assert hand_labels.read(path).labels[0].label == a_label().label


def test_a_full_file_and_one_that_cannot_be_written_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.jsonl"
    hand_labels.append(path, a_label())
    monkeypatch.setattr(hand_labels, "MOST_BYTES", path.stat().st_size + 10)
    with pytest.raises(InputError, match="is full"):
        hand_labels.append(path, a_label())
    assert len(hand_labels.read(path).labels) == 1
    with pytest.raises(InputError, match="cannot be written"):
        hand_labels.append(tmp_path, a_label())
    with pytest.raises(InputError, match="cannot be read"):
        hand_labels.read(tmp_path / "nowhere.jsonl")


WRITER = """
import sys, pathlib
from stemctx_core.labelling import hand_labels
path = pathlib.Path(sys.argv[1])
(label,) = hand_labels.read(path).labels
print("ready", flush=True)
while True:
    hand_labels.append(path, label)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are ended otherwise there")
def test_a_writer_that_is_killed_leaves_a_file_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    hand_labels.append(path, a_label())
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while path.stat().st_size < 40_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait(60)
    found = hand_labels.read(path)
    assert len(found.labels) > 3
    assert found.damaged <= 1
    hand_labels.append(path, a_label())
    assert len(hand_labels.read(path).labels) == len(found.labels) + 1
