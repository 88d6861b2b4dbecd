"""The profile that Nion Swift opens without a question, and what the plug-in needs to be loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

#: In a process of its own: reading a profile leaves Nion's process-wide state behind.
OPEN = """
import asyncio, json, pathlib, sys
from nionswift_plugin.stemctx.profile import open_profile
loop = asyncio.new_event_loop()
profile = open_profile(pathlib.Path(sys.argv[1]), "Project", loop)
reference = profile.get_project_reference(profile.last_project_reference)
print(json.dumps([str(reference.project_path), reference.is_valid, len(profile.project_references)]))
profile.close()
loop.close()
"""


def ran(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_profile_always_opens_a_project_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    made, valid, count = json.loads(ran(OPEN, str(folder)))
    assert (Path(made), valid, count) == (folder / "Project" / "Project.nsproj", True, 1)
    # The same again, with what was kept in it.
    assert json.loads(ran(OPEN, str(folder))) == [made, True, 1]
    # The user has thrown the project away, but not the folder.
    Path(made).unlink()
    kept = folder / "Project" / "kept.txt"
    kept.write_text("a note")
    again, valid, _ = json.loads(ran(OPEN, str(folder)))
    assert (Path(again).parent.name, valid) == ("Project 2", True)
    assert kept.exists()
    shutil.rmtree(folder / "Project 2")
    assert json.loads(ran(OPEN, str(folder)))[1]


def test_the_plug_in_needs_no_simulator() -> None:
    code = (
        "import sys; import nionswift_plugin.stemctx.plug_in;"
        "print([m for m in sys.modules if m.startswith('nion.usim')])"
    )
    assert ran(code) == "[]"
