"""The quick evaluation from end to end: its JSON is documented, its page stands alone, and a seed repeats it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation.cache import Cache
from stemctx_core.evaluation.jobs import benchmark_jobs
from stemctx_core.evaluation.judging import Bench
from stemctx_core.evaluation.plan import Plan
from stemctx_core.evaluation.rows import distance
from stemctx_core.evaluation.run import evaluate
from stemctx_core.evaluation.scenes import Mode
from stemctx_core.evaluation.stages import Settings, referred

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "evaluation.md"
#: Smaller than the quick plan: every stage, in seconds.
SMALL = Plan("quick", 8, 2, 1, 1, 2, 1, 0, 2, 0, 256, 1)
#: Elements that HTML never closes.
VOID = {"meta", "img", "br", "link", "hr", "input"}
#: Names within the JSON that are data: species, conditions, doses.
DATA = {"modes", "doses", "ways", "stage_s", "skipped", "roles"}


def run(output: Path) -> dict[str, Any]:
    stages: list[str] = []

    def show(stage: str, steps: int) -> Any:
        stages.append(stage)
        return lambda done: None

    told = evaluate(Settings(output, SMALL, seed=7, reference=False, workers=1), show)
    assert len(stages) == len(set(stages)) >= 6
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluation")
    run(output)
    return output


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())  # type: ignore[no-any-return]


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _below(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def _below(key: str, inner: Any) -> Iterator[str]:
    if key in DATA and isinstance(inner, dict):
        for entry in inner.values():
            yield from keys(entry)
    else:
        yield from keys(inner)


def test_every_key_is_documented(told: dict[str, Any]) -> None:
    text = re.sub(r"```.*?```", "", DOCUMENTATION.read_text(), flags=re.DOTALL)
    documented = set(re.findall(r"[A-Za-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", text))))
    documented |= {"value", "se"}
    assert set(keys(told)) - documented == set()


def test_documented_sections_are_all_there(told: dict[str, Any]) -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", DOCUMENTATION.read_text(), re.MULTILINE))
    assert listed == set(told)


def test_numbers_are_finite_or_null(folder: Path) -> None:
    text = (folder / "evaluation.json").read_text()
    assert not re.search(r"\b(NaN|-?Infinity)\b", text)


class Tags(HTMLParser):
    """Checks that elements close in order, and gathers what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_nothing_else(folder: Path) -> None:
    page = (folder / "evaluation.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.counts["img"] >= 9
    assert all(r.startswith("data:image/png;base64,") for r in tags.references)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "script" not in tags.counts


def test_a_seed_repeats_the_figures(told: dict[str, Any], tmp_path: Path) -> None:
    def steady(found: dict[str, Any]) -> str:
        demands = [d for d in found["must_show"] if not d["line"].startswith("speed")]
        return json.dumps({**found, "timings": None, "must_show": demands}, sort_keys=True)

    assert steady(run(tmp_path / "again")) == steady(told)


def test_a_second_run_takes_up_stored_stages_but_no_damaged_one(folder: Path, told: dict[str, Any]) -> None:
    damaged = sorted((folder / "cache").glob("FRAME-1e+04*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    before = {p: p.stat().st_mtime_ns for p in (folder / "cache").iterdir()}
    again = run(folder)
    after = {p: p.stat().st_mtime_ns for p in (folder / "cache").iterdir()}
    assert {p for p in before if before[p] != after[p]} == {damaged}
    assert set(after) == set(before)
    assert again["rows"] == told["rows"]


def test_figures_hang_together(told: dict[str, Any]) -> None:
    rows = {(r["mode"], r["labels"], r["dose_e_per_angstrom2"]): r["scorer"] for r in told["rows"]}
    frame = "frame-calibrated"
    assert rows[frame, "L7", 1e6]["accuracy"]["value"] > rows[frame, "L7", 1e3]["accuracy"]["value"]
    assert rows[frame, "L7", 1e6]["entropy_nats"]["value"] < rows[frame, "L7", 1e3]["entropy_nats"]["value"]
    assert rows[frame, "L5", 1e4]["patches"] == 5 * 2 * SMALL.cases
    for entry in told["confusion"]:
        np.testing.assert_allclose(np.sum(entry["share"], axis=1), 1, atol=1e-3)
    for entry in told["entropy_histograms"]:
        assert sum(entry["share"]) == pytest.approx(1, abs=1e-3)
    for entry in told["prevalence"]:
        assert 0 <= entry["roles"]["any defect"]["average_precision"] <= 1
    assert len(told["worst_cases"]) == min(20, len(told["cases"]))


def test_every_demand_says_what_it_was_or_why_not(told: dict[str, Any]) -> None:
    lines = {d["line"] for d in told["must_show"]}
    assert len(lines) == 10
    for demand in told["must_show"]:
        assert demand["measured"] is not None or "not measured" in demand["note"], demand
        if demand["met"] is not None:
            assert demand["measured"]["value"] is not None


def test_the_reference_is_set_beside_the_scorer(tmp_path: Path) -> None:
    """At a high dose the exact posterior is sure and right, whatever it knows of source and background."""
    judges = Bench(None, Cache(tmp_path, {"bundle": "one"}), Cache(tmp_path, {}))
    for mode in Mode:
        job = replace(benchmark_jobs(SMALL, 7, mode, 1e5)[0], case=benchmark_cases()[0])
        judged = referred(judges, mode.name, [job], lambda done: None)
        assert len(judged["label"]) == 7
        told = distance(judged, "L7")
        assert told["bayes"]["accuracy"]["value"] >= 6 / 7 - 1e-4
        assert told["divergence_nats"]["value"] >= -1e-6
        retrained = Bench(None, Cache(tmp_path, {"bundle": "other"}), Cache(tmp_path, {}))
        kept = retrained.lasting.path(f"bayes-{mode.name}-0").stat().st_mtime_ns
        again = referred(retrained, mode.name, [job], lambda done: None)
        np.testing.assert_array_equal(again["bayes"], judged["bayes"])
        assert retrained.lasting.path(f"bayes-{mode.name}-0").stat().st_mtime_ns == kept
        assert retrained.cache.path(f"few-{mode.name}-0").exists()
