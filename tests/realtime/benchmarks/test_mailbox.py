"""`stemctx benchmark mailbox`: every frame accounted for, and nothing queued, with a real server process."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from realtime.benchmarks.commands import register


def run(*options: str) -> str:
    app = typer.Typer()
    app.command("other")(lambda: None)
    register(app)
    ran = CliRunner().invoke(app, ["benchmark", "mailbox", *options])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return ran.output


def test_of_frames_that_come_too_fast_each_is_accounted_for_and_none_is_queued() -> None:
    said = json.loads(run("--seconds", "3", "--json"))
    counters = said["counters"]
    assert said["unaccounted"] == 0
    assert counters["submitted"] == 90
    assert counters["answered"] == len(said["ages_ms"])
    # On a machine with much else to do answers come late, and are dropped.
    assert counters["answered"] + counters["replaced"] + counters["dropped"] == 90
    assert (counters["errors"], counters["stale"]) == (0, 0)
    assert counters["discarded"] <= counters["dropped"]
    assert (said["most_under_way"], said["most_waiting"]) == (1, 0)
    assert all(80 <= age_ms <= 150 for age_ms in said["ages_ms"])
    assert said["age_ms"]["max"] == max(said["ages_ms"], default=0.0)


def test_the_table_says_what_became_of_the_frames() -> None:
    said = run("--seconds", "0.5", "--takes-ms", "1", "--size", "64")
    assert "15" in said
    assert "answers older than 150 ms" in said
    assert "of the dropped, came after 150 ms" in said
