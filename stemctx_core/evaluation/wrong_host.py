"""Whole frames of one host with another declared: they must be refused, or nothing said of their sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import metrics
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.dataset.cases import (
    BENCHMARK_CONVERGENCE_MRAD,
    BENCHMARK_DETECTORS_MRAD,
    BENCHMARK_ENERGIES_KV,
    Case,
)
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.metrics import Estimate
from stemctx_core.results import DECISIONS, Decision, FrameResult
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics

#: A frame of whose sites this share is not answered counts as abstained from.
ABSTAINED_SHARE: Final = 0.5
_DOPANT: Final = "V"
_SIDE_PX: Final = 320
_PIXEL_ANGSTROM: Final = 0.2
_DOSES: Final = (1e4, 1e5)


@dataclass(frozen=True)
class FrameCase:
    """One frame: what it is of, and what is declared."""

    host: str
    declared: str
    optics: Optics
    dose_e_per_angstrom2: float
    key: tuple[int, ...]


def frame_cases(count: int, seed: int) -> list[FrameCase]:
    """Frames with a wrong host, all pairs of benchmark hosts in turn, and half as many with the right one."""
    hosts = list(materials.hosts())
    pairs = [(a, b) for a in hosts for b in hosts if a != b]
    rng = np.random.default_rng([seed, 6])
    order = np.concatenate([rng.permutation(len(pairs)) for _ in range(count // len(pairs) + 1)])[:count]
    drawn = [pairs[i] for i in order] + [(hosts[i % len(hosts)],) * 2 for i in range(-(-count // 2))]
    return [_case(rng, true, declared, (seed, 7, n)) for n, (true, declared) in enumerate(drawn)]


def _case(rng: np.random.Generator, true: str, declared: str, key: tuple[int, ...]) -> FrameCase:
    inner, outer = BENCHMARK_DETECTORS_MRAD[rng.integers(len(BENCHMARK_DETECTORS_MRAD))]
    kv = BENCHMARK_ENERGIES_KV[rng.integers(len(BENCHMARK_ENERGIES_KV))]
    optics = Optics(kv, BENCHMARK_CONVERGENCE_MRAD, inner, outer, rng.uniform(0.35, 0.5))
    return FrameCase(true, declared, optics, _DOSES[rng.integers(len(_DOSES))], key)


def measure(
    bundle: Path | None, cases: list[FrameCase], advance: Callable[[int], None]
) -> dict[str, NDArray[Any]]:
    """Judge the frames; arrays by name, one entry a frame."""
    analyzer = FrameAnalyzer.shipped(bundle=bundle)
    told: dict[str, list[Any]] = {"wrong": [], "refused": [], "abstained": [], "flagged": [], "warned": []}
    words = []
    for case in cases:
        result = analyzer.analyze(_frame(analyzer.library, case), _context(case))
        told["wrong"].append(case.host != case.declared)
        told["refused"].append(result.refusal is not None)
        told["abstained"].append(_share(result, Decision.ABSTAIN))
        told["flagged"].append(_share(result, Decision.FLAG))
        told["warned"].append(len(result.warnings) > 0)
        words.append(f"{case.host} declared {case.declared}: {_outcome(result)}")
        advance(1)
    return {name: np.array(values) for name, values in told.items()} | {"outcome": np.array(words)}


def figures(judged: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Shares of frames with the wrong host that were refused or abstained from, and of those with the right one."""
    stopped = judged["refused"] | (judged["abstained"] >= ABSTAINED_SHARE)
    told: dict[str, Any] = {}
    for name, chosen in (("wrong_host", judged["wrong"]), ("right_host", ~judged["wrong"])):
        told[name] = {
            "frames": int(chosen.sum()),
            "refused_or_abstained": _proportion(stopped[chosen]),
            "refused": _proportion(judged["refused"][chosen]),
            "warned": _proportion(judged["warned"][chosen]),
            "mean_share_of_sites_abstained": metrics.rounded(float(judged["abstained"][chosen].mean())),
            "mean_share_of_sites_flagged": metrics.rounded(float(judged["flagged"][chosen].mean())),
        }
    told["answered_all_the_same"] = [str(w) for w in judged["outcome"][judged["wrong"] & ~stopped]]
    return told


def _proportion(values: NDArray[np.bool_]) -> dict[str, float | None]:
    """Share with the standard error of a binomial, never taken for zero (Agresti and Coull, 1998)."""
    n = len(values)
    smoothed = (values.sum() + 2) / (n + 4)
    return Estimate(float(values.mean()), float(np.sqrt(smoothed * (1 - smoothed) / (n + 4)))).figures()


def _share(result: FrameResult, decision: Decision) -> float:
    count = len(result.sites.decision)
    return float(np.mean(result.sites.decision == DECISIONS.index(decision))) if count else 0.0


def _outcome(result: FrameResult) -> str:
    if result.refusal is not None:
        return f"refused, {result.refusal.code}"
    return f"{_share(result, Decision.FLAG):.1%} flagged, {_share(result, Decision.ABSTAIN):.1%} abstained"


def _context(case: FrameCase) -> ImagingContext:
    o = case.optics
    return ImagingContext(
        host=case.declared,
        dopants=(_DOPANT,),
        high_tension_kv=known(o.high_tension_kv, Source.USER),
        convergence_semi_angle_mrad=known(o.convergence_semi_angle_mrad, Source.USER),
        inner_mrad=known(o.inner_mrad, Source.USER),
        outer_mrad=known(o.outer_mrad, Source.USER),
        pixel_size_angstrom=known(_PIXEL_ANGSTROM, Source.USER),
    )


def _frame(library: ResponseLibrary, case: FrameCase) -> NDArray[np.float32]:
    """A monolayer with defects at real prevalence, relaxed around them, with counting noise."""
    o = case.optics
    imaged = Case(
        materials.host(case.host), (_DOPANT,), o.high_tension_kv, o.inner_mrad, o.outer_mrad, o.convergence_semi_angle_mrad
    )  # fmt: skip
    recipe = FrameRecipe(
        case=imaged,
        shape=(_SIDE_PX, _SIDE_PX),
        pixel_size_angstrom=_PIXEL_ANGSTROM,
        dose_e_per_angstrom2=case.dose_e_per_angstrom2,
        sigma_angstrom=o.sigma_angstrom,
    )
    frame = labelled_frame(library, recipe, int(np.random.default_rng(case.key).integers(1 << 31)))
    return np.asarray(frame.images[0], np.float32)
