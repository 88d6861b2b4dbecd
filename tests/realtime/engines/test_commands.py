"""`stemctx engine`, as a user calls it; the commands of docs/engines.md."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from realtime.engines.commands import register
from realtime.engines.driver import probe_driver
from stemctx_core.errors import InputError

PAGE = Path(__file__).parents[3] / "docs" / "engines.md"
without_gpu = pytest.mark.skipif(probe_driver().devices > 0, reason="there is a GPU")
with_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed"
)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The group of commands alone, with a folder of caches of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    made = typer.Typer()
    made.callback()(lambda: None)
    register(made)
    return made


def run(app: typer.Typer, line: str) -> str:
    result = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@with_rtx
def test_plans_are_built_ahead_of_time_and_listed(app: typer.Typer, tmp_path: Path) -> None:
    assert json.loads(run(app, "engine list --json"))["plans"] == []
    said = run(app, "engine build --for SM89 --for sm86 --precision fp32")
    assert re.search(r"fp32 for SM86, SM89: \d+ kB in [\d.]+ s with tensorrt_rtx", said)
    listed = json.loads(run(app, "engine list --json"))
    (plan,) = listed["plans"]
    assert plan["key"]["target"] == ["SM86", "SM89"]
    assert plan["key"]["package"] == "tensorrt_rtx"
    assert Path(listed["plans_folder"]).is_relative_to(tmp_path)
    table = run(app, "engine list")
    assert "SM86, SM89" in table
    assert plan["key"]["onnx_sha256"][:12] in table


def test_every_engine_is_listed_with_the_reason(app: typer.Typer) -> None:
    engines = {e["engine"]: e for e in json.loads(run(app, "engine list --json"))["engines"]}
    assert list(engines) == ["tensorrt", "tensorrt_rtx", "onnxruntime"]
    assert engines["onnxruntime"]["works"]
    assert engines["onnxruntime"]["version"]
    for name in ("tensorrt", "tensorrt_rtx"):
        assert engines[name]["said"]
        if not probe_driver().devices:
            assert not engines[name]["works"]
            assert engines[name]["said"] == probe_driver().reason


def test_a_folder_of_plans_that_is_open_to_others_is_told(app: typer.Typer, tmp_path: Path) -> None:
    folder = tmp_path / "stemctx" / "plans"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert "chmod 700" in json.loads(run(app, "engine list --json"))["plans_refused"]
    assert "Plans are not kept" in run(app, "engine list")


def test_engines_are_timed_beside_one_thread(app: typer.Typer) -> None:
    report = json.loads(run(app, "engine benchmark --batch 32 --threads 1 --threads 2 --seconds 0 --json"))
    rows = {(r["precision"], r["timing"]["threads"]): r for r in report["rows"] if r["timing"]["threads"]}
    assert set(rows) == {(p, t) for p in ("fp32", "fp16") for t in (1, 2)}
    for row in rows.values():
        assert row["timing"]["batch"] == 32
        assert row["timing"]["runs"] >= 3
        assert row["timing"]["patches_per_s"] > 0
    assert rows["fp32", 1]["times_one_thread"] == 1.0


@without_gpu
def test_what_cannot_be_built_here_names_the_way_out(app: typer.Typer) -> None:
    with pytest.raises(InputError, match="--for SM89"):
        run(app, "engine build")
    with pytest.raises(InputError, match="tensorrt or tensorrt_rtx"):
        run(app, "engine build --engine onnxruntime")
    with pytest.raises(InputError, match="fp32, fp16"):
        run(app, "engine build --precision int8")


@with_rtx
def test_the_commands_of_the_page_work(app: typer.Typer) -> None:
    lines = re.findall(r"^stemctx (engine .*?)(?:\s+#.*)?$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        if line == "engine build" and not probe_driver().devices:
            continue  # for a GPU: tested above to say what is missing
        short = " --seconds 0 --batch 8" if line.startswith("engine benchmark") else ""
        assert run(app, line + short)
