"""The real Nion Swift with both plug-ins in a window on a virtual display.

A scripted operator inside it (`nionswift_plugin.stemctx.demo.operator`) does what an operator does and writes down what came
of it. Nion Swift is started twice: by itself, and as `make swift` starts it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nionswift_plugin.stemctx.application import PROJECT
from tests.plugin.nion_window import nion_swift

pytestmark = [
    pytest.mark.window,
    # It starts Nion Swift and an inference server and scans for half a minute of real time.
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def test_a_first_session(tmp_path: Path) -> None:
    data = tmp_path / "home" / ".local" / "share" / "Nion" / "Nion Swift"
    seeding = [sys.executable, Path(__file__).with_name("seed_profile.py"), data]
    subprocess.run(seeding, check=True, timeout=600)
    with nion_swift(tmp_path, keep="swift") as window:
        said = window.result()
        assert window.wait() == 0, window.log[-4000:]
        log = window.log
    assert said["state"] == "live"
    steps, frames = said["steps"], said["frames_judged"]
    assert steps["flags"]["labels"]
    # 51 pA for 12 µs on pixels of 0.195 Å.
    first = frames[0]
    assert first["frames_accumulated"] == 1
    assert first["dose_e_per_angstrom2"] == pytest.approx(1e5, rel=0.3)

    # What the panel of the simulated specimen says of the same frames.
    shares = re.findall(r"(?:Precision|recall) ([\d.]+)", steps["specimen"]["score"])
    assert [float(share) >= 0.95 for share in shares] == [True, True], steps["specimen"]

    # The energy was changed while a frame was being scanned.
    assert 0.0 < steps["energy"]["at_rows"] < 1.0
    assert said["frames"]["scanned"] >= len(frames)
    # Every frame says which energy it was judged at, and the one that saw both is either.
    assert {f["high_tension_from"] for f in frames} == {"frame metadata"}
    full_dose = [f for f in frames if f["step"] in ("flags", "energy")]
    for kv in (80.0, 60.0):
        some = [f for f in full_dose if f["high_tension_kv"] == kv and f["scan_id"] != steps["energy"]["mixed"]]
        assert some, f"no frame of full dose was judged at {kv:g} kV"
        precision, recall = rates(some)
        assert precision >= 0.95, some
        assert recall >= 0.95, some

    everything, sure, no_dopants = steps["threshold"]["labels"]
    assert len(everything) > len(sure) > len(no_dopants) > 0
    assert min(probability(label) for label in everything) < 0.95 <= min(probability(label) for label in sure)
    assert [label for label in sure if not label.startswith("V_W")] == no_dopants

    assert steps["zoom"]["zoom"] > 1
    # The stage drifts while the closer look is on its way.
    assert steps["closer"]["from_centre_px"] * 10 * steps["closer"]["fov_nm"] / 512 < 1.0
    assert steps["snapshot"]["shown"] == steps["snapshot"]["rows"] == steps["snapshot"]["points"] > 0

    # The tab is brought up to date twice a second.
    assert int(steps["statistics"]["frames"]) >= len([f for f in frames if f["step"] != "statistics"]) - 1
    assert steps["statistics"]["counts"]

    # Two milliseconds are aimed at; a virtual display on a busy machine is not where to measure that.
    assert said["overlay_ms_median"] < 100
    assert "Plug-in 'nionswift_plugin.stemctx' loaded" in log
    assert "Traceback" not in log, log[-5000:]
    assert no_graphic_was_left(tmp_path)


def test_make_swift_flags_without_a_question(tmp_path: Path) -> None:
    with nion_swift(
        tmp_path, application="nionswift_plugin.stemctx.application", steps="watch", keep="swift"
    ) as window:
        said = window.result()
        # The scan goes on, and the user closes the window.
        window.close()
        assert window.wait() == 0, window.log[-4000:]
        log = window.log
    assert said["steps"]["watch"]["labels"]
    assert "Traceback" not in log, log[-5000:]
    projects = [path.stem for path in tmp_path.rglob("*.nsproj") if path.stem != "Profile"]
    assert projects == [PROJECT]
    assert not list(tmp_path.rglob("Nion/Nion Swift")), "the user's own Nion Swift was touched"
    assert no_graphic_was_left(tmp_path)


def rates(frames: list[dict[str, Any]]) -> tuple[float, float]:
    """Precision and recall of frames together: species and place right."""
    right, wrong, missed = (sum(f["strict"][key] for f in frames) for key in ("right", "wrong", "missed"))
    return right / (right + wrong), right / (right + missed)


def probability(label: str) -> float:
    """The number in a label."""
    return float(label.split()[1])


def no_graphic_was_left(folder: Path) -> bool:
    """Whether no graphic of ours was saved with the project."""
    return "stemctx_flags" not in "".join(path.read_text() for path in folder.rglob("*.nsproj"))
