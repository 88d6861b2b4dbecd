"""The scenes that are judged: what is there, and what the classifier is told of it.

Two modes. *Frame-calibrated*: source size, background, gain and ratio are known as well as a frame of some thousand
sites gives them. *Unknown per patch*: the classifier knows of a patch only the ranges that they were drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from stemctx_core.chemistry import classes
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.groups import Group, make_group, tell
from stemctx_core.scene import Missing, Nuisance, Scene, without
from stemctx_core.simulation.library import ResponseLibrary

DOSES: Final = (1e3, 1e4, 1e5, 1e6)
SIGMA_ANGSTROM: Final = (0.35, 0.55)
BACKGROUND: Final = (0.0, 0.06)
#: |ΔZ| ≤ 5 to the host's metal.
NEAR_Z: Final = {"Mo": ("Nb", "Ru", "Rh"), "W": ("Ta", "Re", "Pt", "Au")}
#: What a frame of some thousand sites leaves unknown.
NUISANCE: Final = Nuisance(
    jitter_angstrom=0.05,
    shift_angstrom=0.03,
    amplitude=0.0,
    gain=0.001,
    ratio=0.001,
    background=0.001,
    sigma_angstrom=0.002,
    response=0.0,
    defects=0.03,
)
#: Relative error of the intensity scale of a single patch.
UNKNOWN_GAIN: Final = 0.01


class Mode(StrEnum):
    """What the classifier knows of source, background and gain."""

    FRAME = "frame-calibrated"
    UNKNOWN = "unknown per patch"


@dataclass(frozen=True)
class Perturbation:
    """How far the truth is from what the classifier's library says, relative standard deviations.

    Attributes
    ----------
    response
        Of each candidate's own response.
    ratio
        Of the chalcogen sublattice against the metal's; the frame itself shows it.
    told_response
        What the classifier takes the first to be.
    """

    response: float = 0.0
    ratio: float = 0.0
    told_response: float = 0.0


EXACT: Final = Perturbation()


@dataclass(frozen=True)
class Job:
    """One scene to be drawn, rendered and judged; a pure function of its fields.

    Attributes
    ----------
    scene
        Number that the standard errors take for independent.
    repeats
        Patches of every candidate.
    reference_repeats
        How many of them the Bayes reference judges too.
    key
        Seed of the scene's own generator.
    """

    case: Case
    scene: int
    dose_e_per_angstrom2: float
    mode: Mode
    repeats: int
    key: tuple[int, ...]
    reference_repeats: int = 0
    off: Perturbation = EXACT


def is_near_z(case: Case) -> bool:
    """Whether a dopant stands within five places of the host's metal in the periodic table."""
    return any(d in NEAR_Z.get(case.host.metal, ()) for d in case.dopants)


def benchmark_scene(
    case: Case, dose_e_per_angstrom2: float, rng: np.random.Generator, nuisance: Nuisance = NUISANCE
) -> Scene:
    """A scene with the benchmark's nuisances for a case."""
    return Scene(
        host=case.host,
        candidates=classes.candidates(case.host.name, case.dopants),
        optics=case.optics(rng.uniform(*SIGMA_ANGSTROM)),
        dose_e_per_angstrom2=dose_e_per_angstrom2,
        background=rng.uniform(*BACKGROUND),
        ratio=1.0,
        nuisance=nuisance,
    )


def draw_group(library: ResponseLibrary, job: Job) -> Group:
    """Render a job's patches, and tell what its mode lets the classifier know."""
    rng = np.random.default_rng(job.key)
    if job.mode is Mode.UNKNOWN:
        nuisance = replace(NUISANCE, gain=UNKNOWN_GAIN)
        truth = benchmark_scene(job.case, job.dose_e_per_angstrom2, rng, nuisance)
        told = without(tell(truth, rng), (Missing.SOURCE_SIZE, Missing.BACKGROUND))
        return make_group(library, truth, job.repeats, rng, told=told)
    nuisance = replace(NUISANCE, response=job.off.response)
    truth = benchmark_scene(job.case, job.dose_e_per_angstrom2, rng, nuisance)
    truth = replace(truth, ratio=float(1 + rng.normal(0, job.off.ratio)))
    told = tell(truth, rng)
    told = replace(told, nuisance=replace(told.nuisance, response=job.off.told_response))
    return make_group(library, truth, job.repeats, rng, told=told)


def part_of(group: Group, kept: np.ndarray) -> Group:
    """Some of a group's patches."""
    rendered = replace(
        group.rendered, electrons=group.rendered.electrons[kept], label=group.rendered.label[kept]
    )
    return replace(group, patches=group.patches[kept], label=group.label[kept], rendered=rendered)


def first_repeats(group: Group, repeats: int) -> np.ndarray:
    """Rows of the first patches of every candidate."""
    rows = [np.flatnonzero(group.label == c)[:repeats] for c in range(len(group.scene.candidates))]
    return np.sort(np.concatenate(rows))
