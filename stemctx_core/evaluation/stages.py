"""The stages of an evaluation: what is drawn and judged in each, with progress, and with results kept on disk."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stemctx_core.classifier.classifier import Bundle, load_bundle
from stemctx_core.evaluation import conditions, embedding, jobs
from stemctx_core.evaluation.cache import Arrays, Cache
from stemctx_core.evaluation.judging import Advance, Bench, Task
from stemctx_core.evaluation.plan import Plan
from stemctx_core.evaluation.scenes import DOSES, Job, Mode
from stemctx_core.look import formats
from stemctx_core.simulation.library import shipped_library

#: Starts a stage of so many steps; what it gives back is told how many are done.
Show = Callable[[str, int], Advance]
_MAP_DOSE: Final = 1e5


@dataclass(frozen=True)
class Settings:
    """What is evaluated, and how.

    Attributes
    ----------
    bundle
        Folder of the scorer, the shipped one where None.
    reference
        Whether the Bayes reference is computed.
    output
        Folder of the page, the JSON and the results of stages.
    """

    output: Path
    plan: Plan
    bundle: Path | None = None
    seed: int = 20260609
    reference: bool = True
    workers: int = 2


@dataclass
class Measured:
    """Everything that was drawn and judged.

    Attributes
    ----------
    main, referred
        By mode and dose: the benchmark's scenes, and those patches of them that the Bayes reference judged too.
    unseen, unseen_referred, perturbed, perturbed_cases
        By condition and dose.
    skipped
        What was not measured, with the reason.
    seconds
        What each stage took; near zero where its result lay on disk.
    """

    settings: Settings
    bundle: Bundle
    main: dict[tuple[Mode, float], Arrays] = field(default_factory=dict)
    referred: dict[tuple[Mode, float], Arrays] = field(default_factory=dict)
    unseen: dict[tuple[str, float], Arrays] = field(default_factory=dict)
    unseen_referred: dict[tuple[str, float], Arrays] = field(default_factory=dict)
    perturbed: dict[tuple[str, float], Arrays] = field(default_factory=dict)
    perturbed_cases: dict[tuple[str, float], list[Any]] = field(default_factory=dict)
    places: Arrays | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Remember what a stage took."""
        started = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - started, 2)


def code_hash() -> str:
    """Hash of the source that draws scenes, renders and encodes them; results of other code are not taken up."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    folders = ("bayes", "chemistry", "contrast", "dataset", "encoding", "simulation")
    files = (
        "scene",
        "classifier/baselines",
        *(f"evaluation/{n}" for n in ("scenes", "jobs", "judging", "less_context")),
    )
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    for path in [*paths, *(root / f"{name}.py" for name in files)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def caches(settings: Settings, bundle: Bundle) -> tuple[Cache, Cache]:
    """Where results lie that depend on exactly this model, library, code, seed and plan; and on all but the model."""
    identity = {
        "library": shipped_library().sha256,
        "code": code_hash(),
        "seed": settings.seed,
        "plan": asdict(settings.plan),
    }
    folder = settings.output / "cache"
    return Cache(folder, {**identity, "bundle": bundle.sha256}), Cache(folder, identity)


def measure(settings: Settings, bench: Bench, show: Show) -> Measured:
    """Run all stages that judge patches."""
    measured = Measured(settings, load_bundle(settings.bundle))
    with measured.timed("benchmark"):
        _benchmark(measured, bench, show)
    if not settings.reference:
        measured.skipped["Bayes reference"] = "left out on request (--no-reference)"
    else:
        with measured.timed("Bayes reference"):
            _reference(measured, bench, show)
    with measured.timed("unseen conditions"):
        _unseen(measured, bench, show)
    with measured.timed("perturbed libraries"):
        _perturbed(measured, bench, show)
    with measured.timed("map of patches"):
        _map(measured, bench, show)
    return measured


def _benchmark(measured: Measured, bench: Bench, show: Show) -> None:
    plan, seed = measured.settings.plan, measured.settings.seed
    missing = bench.judge.less_context.missing
    if missing:
        measured.skipped["models with less context"] = missing
    advance = show("benchmark, 576 cases", plan.cases * len(Mode) * len(DOSES))
    for mode in Mode:
        for dose in DOSES:
            drawn = jobs.benchmark_jobs(plan, seed, mode, dose)
            task = Task(less_context=mode is Mode.FRAME)
            measured.main[mode, dose] = bench.run(f"{mode.name}-{dose:.0e}", drawn, task, advance)


def _reference(measured: Measured, bench: Bench, show: Show) -> None:
    plan, seed = measured.settings.plan, measured.settings.seed
    advance = show("Bayes reference", plan.reference_cases * len(Mode) * len(DOSES))
    for mode in Mode:
        for dose in DOSES:
            drawn = jobs.benchmark_jobs(plan, seed, mode, dose)[: plan.reference_cases]
            judged = referred(bench, f"{mode.name}-{dose:.0e}", drawn, advance)
            measured.referred[mode, dose] = _finite(measured, judged, f"{mode}, {formats.dose(dose)}")


def referred(bench: Bench, name: str, drawn: list[Job], advance: Advance) -> Arrays:
    """Arrays of the patches that the reference judges, with its posterior; another model finds that on disk."""
    judged = bench.run(f"few-{name}", drawn, Task(few=True), lambda done: None)
    return judged | bench.run(f"bayes-{name}", drawn, Task(reference=True), advance)


def _finite(measured: Measured, judged: Arrays, where: str) -> Arrays:
    """The patches that the reference has a posterior for; how many it has none for is told."""
    finite = np.isfinite(judged["bayes"].max(axis=1))
    if finite.all():
        return judged
    failed = int(np.count_nonzero(~finite))
    measured.skipped[f"Bayes reference of some patches, {where}"] = (
        f"{failed} of {len(finite)} patches without a finite posterior are left out of the comparison"
    )
    return {k: v[finite] for k, v in judged.items()}


def _unseen(measured: Measured, bench: Bench, show: Show) -> None:
    plan, seed = measured.settings.plan, measured.settings.seed
    found = jobs.unseen_cases()
    compared = plan.condition_reference_repeats > 0 and "Bayes reference" not in measured.skipped
    advance = show(
        "unseen conditions", len(found) * len(jobs.CONDITION_DOSES) * plan.condition_scenes * (1 + compared)
    )
    for number, (name, cases) in enumerate(found.items()):
        kept, reason = jobs.answerable(bench.judge.library, cases)
        if reason:
            words = f"{len(cases) - len(kept)} of {len(cases)} cases" if kept else "all cases"
            measured.skipped[name] = f"{words}: {reason}"
        for dose in jobs.CONDITION_DOSES if kept else ():
            drawn = jobs.condition_jobs(plan, seed, name, kept, dose)
            label = f"unseen{number}-{dose:.0e}"
            measured.unseen[name, dose] = bench.run(label, drawn, Task(), advance)
            if compared:
                judged = referred(bench, label, drawn, advance)
                measured.unseen_referred[name, dose] = _finite(
                    measured, judged, f"{name}, {formats.dose(dose)}"
                )


def _perturbed(measured: Measured, bench: Bench, show: Show) -> None:
    plan, seed = measured.settings.plan, measured.settings.seed
    cases = conditions.benchmark_conditions()
    listed = conditions.PERTURBATIONS
    advance = show("perturbed libraries", len(listed) * len(jobs.CONDITION_DOSES) * plan.condition_scenes)
    for number, (name, off) in enumerate(listed.items()):
        for dose in jobs.CONDITION_DOSES:
            drawn = jobs.condition_jobs(plan, seed, "perturbed", cases, dose, off)
            label = f"perturbed{number}-{dose:.0e}"
            measured.perturbed[name, dose] = bench.run(label, drawn, Task(), advance)
            measured.perturbed_cases[name, dose] = [job.case for job in drawn]


def _map(measured: Measured, bench: Bench, show: Show) -> None:
    plan, seed = measured.settings.plan, measured.settings.seed
    missing = embedding.missing() if plan.map_patches else "not drawn in a quick run"
    if missing:
        measured.skipped["map of patches"] = missing
        return
    drawn = jobs.benchmark_jobs(plan, seed, Mode.FRAME, _MAP_DOSE)
    scenes = -(-plan.map_patches // (7 * plan.reference_repeats))
    advance = show("map of patches", min(scenes, len(drawn)))
    kept = drawn[:scenes]
    judged = bench.run("map", kept, Task(residuals=True), advance)
    rng = np.random.default_rng([seed, 5])
    few = np.sort(rng.permutation(len(judged["label"]))[: plan.map_patches])
    part = {k: v[few] for k, v in judged.items()}
    measured.places = bench.cache.arrays("map-places", lambda: embedding.laid_out(part, seed))
