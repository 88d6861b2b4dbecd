"""Every example runs; one of them in the terminal, in Nion Swift as a script of its own, and in a notebook."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from nion.swift import ScriptsDialog

from tests.plugin.swift import loaded, swift

EXAMPLES = Path(__file__).parents[3] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def _run(script: str, cwd: Path) -> str:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py")],
        capture_output=True, text=True, check=False, timeout=300, cwd=cwd, env={**os.environ, **ONE_THREAD},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


#: What each example must have said, whatever it found.
SAID = {
    "survey": r"V_W: \d+ of \d+ sites, .* cm⁻²\n(.*\n)*2 fields, .* electrons, the whole area was seen",
    "confirm": r"far enough apart.*\n(V_W at .*\n)+2 fields and \d+ second looks",
    "follow": r"( +\d\.\d s  \(.*\) nm  V_W .*\n){6}5 looks",
    "until_precise": r"vac_Se or O_Se at .*95 % interval .*\n\d+ fields, \d+ sites undecided, the interval is narrow",
    "watch": r"4 frames, 8\.0 × 10⁴ e/Å², 4 frames were taken",
}


def test_there_is_an_example_of_every_policy() -> None:
    assert set(SCRIPTS) == set(SAID)


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs_in_a_terminal(script: str, tmp_path: Path) -> None:
    said = _run(script, tmp_path)
    assert re.search(SAID[script], said), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_is_short(script: str) -> None:
    lines = (EXAMPLES / f"{script}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 50


def test_an_example_runs_in_nion_swift(tmp_path: Path) -> None:
    """By Nion Swift's own window for scripts, on the thread that it makes for a script."""
    with swift(tmp_path) as nion_swift, loaded():
        # The test context keeps the profile to itself; the window asks the application for its list of scripts.
        nion_swift.window.app._set_profile_for_test(nion_swift.context.profile)
        dialog = ScriptsDialog.RunScriptDialog(nion_swift.window)
        said: list[str] = []
        finished = threading.Event()

        def close_it(*_: str) -> bool:
            finished.set()
            return False

        dialog.print = lambda *values: said.append(" ".join(map(str, values)))
        dialog.confirm = close_it  # nobody is there to press the button
        before = nion_swift.scan.get_current_frame_parameters().as_dict()
        threads = set(threading.enumerate())
        dialog.run_script(str(EXAMPLES / "survey.py"))
        nion_swift.pump(finished.is_set)
        nion_swift.pump(lambda: not [t for t in threading.enumerate() if t not in threads and not t.daemon])
        assert re.search(SAID["survey"], "\n".join(said)), "\n".join(said)
        now = nion_swift.scan.get_current_frame_parameters().as_dict()
        assert {name: now[name] for name in before} == before
        assert not nion_swift.scan.is_playing


def test_an_example_is_a_module_with_a_main(monkeypatch: pytest.MonkeyPatch) -> None:
    for script in SCRIPTS:
        names = runpy.run_path(str(EXAMPLES / f"{script}.py"))
        assert callable(names["script_main"])
        assert callable(names["main"])
