"""A whole evaluation: stages, JSON and page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.evaluation import speed, wrong_host
from stemctx_core.evaluation.cache import Cache
from stemctx_core.evaluation.judging import Advance, bench
from stemctx_core.evaluation.must_show import must_show
from stemctx_core.evaluation.page import report_page
from stemctx_core.evaluation.report import report
from stemctx_core.evaluation.stages import Settings, Show, caches, measure
from stemctx_core.whole_files import write_whole


def evaluate(settings: Settings, show: Show) -> dict[str, Any]:
    """Measure everything, write `evaluation.json` and `evaluation.html`, and give the JSON's content.

    Raises
    ------
    BundleError, LibraryError
        A model or library that cannot be used.
    """
    settings.output.mkdir(parents=True, exist_ok=True)
    cache, lasting = caches(settings, load_bundle(settings.bundle))
    with bench(settings.bundle, cache, lasting, settings.workers) as judges:
        measured = measure(settings, judges, show)
    with measured.timed("wrong host"):
        frames = _frames(settings, cache, show)
    told = report(measured)
    told["wrong_host"] = frames
    # Last and alone, so that nothing else of this run is on the cores.
    advance = show("speed", 1)
    with measured.timed("speed"):
        told["timings"]["speed"] = speed.measure(settings.bundle, settings.plan, settings.seed)
    advance(1)
    told["timings"]["stage_s"] = dict(measured.seconds)
    told["must_show"] = must_show(told)
    advance = show("page", 1)
    write_whole(settings.output / "evaluation.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    write_whole(settings.output / "evaluation.html", report_page(told))
    advance(1)
    return told


def _frames(settings: Settings, cache: Cache, show: Show) -> dict[str, Any]:
    cases = wrong_host.frame_cases(settings.plan.frames, settings.seed)
    advance = show("frames with the wrong host", len(cases))
    judged = cache.arrays("frames", lambda: wrong_host.measure(settings.bundle, cases, advance))
    return wrong_host.figures(judged)


@contextmanager
def progress_bars(console: Console) -> Iterator[Show]:
    """One bar for each stage."""
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    ) as bars:

        def show(stage: str, steps: int) -> Advance:
            task = bars.add_task(stage, total=steps)
            return lambda done: bars.advance(task, done)

        yield show
