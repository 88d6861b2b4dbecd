"""`stemctx doctor` where something is broken: each trouble is named, and what mends it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nionswift_plugin.stemctx.doctor import bundles, child, display, examination, instrument, keeping
from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, Status, ok, trouble, warning
from realtime.keys.folder import KeyFolder
from sim.headless import HeadlessMicroscope
from stemctx_core.classifier.classifier import shipped_bundle_path
from tests.plugin.environments import (
    NION_SIMULATOR,
    NION_SWIFT,
    ONNX_RUNTIME,
    REPOSITORY,
    STEMCTX,
    Environment,
    run,
)

#: As an editable install that is a hook and not a path: imports find our packages, a listing of a folder does not.
HOOK = """
import importlib.util, pathlib, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("stemctx_core", "realtime", "sim", "nionswift_plugin.stemctx", "nionswift_plugin.stemctx_simulator"):
            place = pathlib.Path({repository!r}, *name.split("."))
            return importlib.util.spec_from_file_location(name, place / "__init__.py")

sys.meta_path.append(Finder)
"""


def lines(said: str, topic: str) -> list[dict[str, Any]]:
    return [f for f in json.loads(said)["findings"] if f["topic"] == topic]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which a program listens that is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_everything_at_once_and_a_port_that_is_taken(taken: int, tmp_path: Path) -> None:
    ran = run(
        sys.executable,
        "doctor",
        "--json",
        "--port",
        str(taken),
        at=tmp_path,
        STEMCTX_KEYS=str(tmp_path / "keys"),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["live_flagging"] is True
    topics = {f["topic"] for f in json.loads(ran.stdout)["findings"]}
    assert topics == set(examination.checks())
    (server,) = lines(ran.stdout, "server")
    assert server["status"] == "warning"
    assert f"port {taken} is taken by" in server["found"]
    assert f"(process {os.getpid()})" in server["found"]
    assert f"stemctx serve --port {taken + 1}" in server["fix"]
    engines = lines(ran.stdout, "engine")
    assert [e["status"] for e in engines if "ONNX Runtime" in e["found"]] == ["ok"]
    assert [p["status"] for p in lines(ran.stdout, "plug-ins")] == ["ok", "ok"]
    (instrument,) = lines(ran.stdout, "instrument")
    assert "high tension 80 kV (control EHT)" in instrument["found"]
    assert "HAADF inner 70 mrad" in instrument["found"]


def test_a_port_that_is_taken_where_a_server_was_asked_for(taken: int, tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{taken}"
    ran = run(sys.executable, "doctor", "--server", address, "--only", "server", at=tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"trouble  server: no stemctx server answers at {address} (the port is taken by" in ran.stdout
    assert f"fix: Start one there: stemctx serve --port {taken}, or choose another port" in ran.stdout


def test_no_plug_in_is_listed_where_nion_swift_is_not(tmp_path: Path) -> None:
    ran = Environment(tmp_path / "env", NION_SWIFT).stemctx("doctor", "--only", "plug-ins")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert (
        f"trouble  plug-ins: no plug-in is listed: Nion Swift is not installed in the environment {tmp_path}"
        in ran.stdout
    )
    assert "fix: Activate Nion Swift's own environment and run 'python -m pip install .' there" in ran.stdout


def test_no_plug_in_is_listed_behind_an_import_hook(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", (*STEMCTX[:1], *STEMCTX[2:]))
    (environment.packages / "_hook.py").write_text(HOOK.format(repository=str(REPOSITORY)))
    (environment.packages / "_hook.pth").write_text("import _hook\n")
    ran = environment.stemctx("doctor", "--only", "plug-ins", PYTHONPATH="")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "Nion Swift does not list nionswift_plugin.stemctx;" in ran.stdout
    assert (
        "fix: Install stemctx as plain files, not behind an import hook: run 'python -m pip install .'"
        in ran.stdout
    )


def test_no_plug_in_is_listed_where_a_file_hides_them(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", without=("nionswift_plugin/nothing",))
    hiding = environment.packages / "nionswift_plugin" / "__init__.py"
    hiding.write_text("")
    ran = environment.stemctx("doctor")
    assert ran.returncode == 2, ran.stdout
    assert f"{hiding} hides the part 'nionswift_plugin' of stemctx" in ran.stderr
    assert "Delete that file" in ran.stderr


def test_without_onnx_runtime(tmp_path: Path) -> None:
    ran = Environment(tmp_path / "env", ONNX_RUNTIME).stemctx(
        "doctor", "--only", "engine", "--only", "installed"
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "trouble  engine: ONNX Runtime is not installed, and without it no model runs" in ran.stdout
    assert 'fix: Run: python -m pip install "onnxruntime>=1.20"' in ran.stdout
    assert "trouble  installed: the package onnxruntime (>=1.20) is not installed" in ran.stdout


@pytest.mark.skipif(os.name == "nt", reason="permissions of files are not looked at on Windows")
def test_a_key_that_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.make_server()
    secret = folder.make_client("column")
    secret.chmod(0o644)
    ran = run(sys.executable, "doctor", "--only", "keys", at=tmp_path, STEMCTX_KEYS=str(folder.path))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"trouble  keys: {secret} is open to others (mode 0644)" in ran.stdout
    assert f"fix: Run: chmod 600 {secret}" in ran.stdout
    secret.chmod(0o600)
    monkeypatch.setenv("STEMCTX_KEYS", str(folder.path))
    (found,) = keeping.check_keys()
    assert found.status is Status.OK
    assert "2 secret and readable by you alone" in found.found


def test_without_an_instrument(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", NION_SIMULATOR)
    ran = environment.stemctx("doctor", "--only", "instrument", "--only", "plug-ins")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning  instrument: there is no instrument here" in ran.stdout
    assert "from nionswift_plugin.stemctx import doctor; print(doctor.report())" in ran.stdout
    assert 'pip install "stemctx[simulator]"' in ran.stdout
    assert "ok       plug-ins: live defect flags" in ran.stdout
    assert "warning  plug-ins: simulated microscope: Nion Swift will not load" in ran.stdout


def test_the_instrument_of_this_process() -> None:
    (found,) = instrument.running()
    assert found.status is Status.TROUBLE
    assert found.found.startswith("no instrument is registered in this Nion Swift")
    with HeadlessMicroscope() as microscope:
        (found,) = instrument.running()
        assert found.status is Status.OK
        assert "high tension 80 kV (control EHT)" in found.found
        assert "MAADF outer 120 mrad (control MAADF_Outer_ha)" in found.found
        without = instrument.ask_controls(microscope.stem_controller, ("HAADF", "BF"))
    assert set(without["silent"]) == {"BF inner", "BF outer"}


def test_what_a_plug_in_needs_and_lacks(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", ("zmq", "pyzmq-*"))
    ran = environment.stemctx("doctor", "--only", "plug-ins")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert (
        "trouble  plug-ins: live defect flags: Nion Swift will not load nionswift_plugin.stemctx:" in ran.stdout
    )
    assert "Cannot satisfy requirement (zmq)" in ran.stdout
    assert "stemctx_simulator' NOT" not in ran.stdout


def test_a_topic_that_is_none(tmp_path: Path) -> None:
    ran = run(sys.executable, "doctor", "--only", "weather", at=tmp_path)
    assert ran.returncode == 2
    assert "There is no topic 'weather'. Choose of: installed, plug-ins, engine" in ran.stderr


def test_a_damaged_model(tmp_path: Path) -> None:
    copy = tmp_path / "bundles"
    shutil.copytree(shipped_bundle_path().parent, copy)
    assert [f.status for f in bundles.check(copy)] == [Status.OK]
    with (copy / "candidate_scorer" / "model_fp16.onnx").open("ab") as file:
        file.write(b"\0")
    (copy / "deltas.json").write_text("{}")
    (found,) = bundles.check(copy)
    assert found.status is Status.TROUBLE
    assert "candidate_scorer/model_fp16.onnx is not the file that its description speaks of" in found.found
    assert "deltas.json cannot be read" in found.found


def test_a_display_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has several displays")
    for name, said in (
        (":4711", "does not answer"),
        ("nonsense", "no name of a display"),
        ("", "there is none"),
    ):
        monkeypatch.setenv("DISPLAY", name)
        (found,) = display.check()
        assert found.status is Status.WARNING
        assert said in found.found


def test_a_probe_that_raises_or_does_not_end() -> None:
    with pytest.raises(ProbeFailed, match="TypeError"):
        ask("driver", "one argument too many")
    with pytest.raises(ProbeFailed, match="did not end within 0 s"):
        ask("driver", timeout_s=0.01)
    with pytest.raises(ProbeFailed, match="No module named"):
        ask("nothing_of_ours")


@pytest.mark.skipif(os.name == "nt", reason="signals end no process there")
def test_a_probe_that_ends_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library of a GPU does without its driver: the doctor goes on, and says how it ended."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ProbeFailed, match="ended by SIGABRT"):
        ask("driver")


def test_plans_that_others_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name == "nt":
        pytest.skip("permissions of files are not looked at on Windows")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plans = tmp_path / "stemctx" / "plans"
    plans.mkdir(parents=True, mode=0o700)
    if sys.platform == "linux":
        plans.chmod(0o777)
        (found,) = keeping.check_plans()
        assert found.status is Status.WARNING
        assert f"chmod 700 {plans}" in found.found


def test_a_check_that_fails_is_a_finding() -> None:
    def breaks() -> list[Finding]:
        raise RuntimeError("as nobody expected")

    def misses() -> list[Finding]:
        raise ModuleNotFoundError("No module named 'zmq'", name="zmq")

    broken, missing, fine = examination.examine({"a": breaks, "b": misses, "c": lambda: [ok("c", "well")]})
    assert (broken.status, broken.topic) == (Status.TROUBLE, "a")
    assert "as nobody expected" in broken.found
    assert "'zmq' is not installed" in missing.found
    assert fine.status is Status.OK


def test_warnings_do_not_fail() -> None:
    assert examination.works([ok("a", "b"), warning("a", "b", "c")])
    assert not examination.works([trouble("a", "b", "c"), ok("a", "b")])
    assert examination.in_words([trouble("a", "b", "c")]).splitlines() == [
        "trouble  a: b",
        "         fix: c",
        "Live flagging would not work here, or not safely: 1 trouble to be mended, 0 warnings.",
    ]


def test_nions_loader_makes_nothing_of_the_doctor() -> None:
    """Nion makes an object of every class of a plug-in and its modules whose name ends in Extension."""
    import inspect

    import nionswift_plugin.stemctx

    assert [n for n, m in inspect.getmembers(child, inspect.isclass) if n.endswith("Extension")] == []
    found = [
        n for n, m in inspect.getmembers(nionswift_plugin.stemctx, inspect.isclass) if n.endswith("Extension")
    ]
    assert found == ["StemctxExtension"]
