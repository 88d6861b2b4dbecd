"""What is really there: a case with a specimen's and a microscope's imperfections, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from stemctx_core.chemistry import classes, columns, materials
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.dataset.cases import (
    BENCHMARK_CONVERGENCE_MRAD,
    BENCHMARK_DETECTORS_MRAD,
    BENCHMARK_ENERGIES_KV,
    Case,
)
from stemctx_core.errors import LibraryError
from stemctx_core.scene import Nuisance, Scene
from stemctx_core.simulation.library import ResponseLibrary

#: Ranges that the model is trained on; they go into its card.
TRAINING_RANGES: Final = {
    "dose_e_per_angstrom2": (8e2, 1.2e6),
    "convergence_semi_angle_mrad": (25.0, 35.0),
    "sigma_angstrom": (0.30, 0.65),
    "background": (0.0, 1.0),
    "inner_mrad": (40.0, 100.0),
    "detector_width_mrad": (40.0, 130.0),
    "jitter_angstrom": (0.02, 0.08),
    "shift_angstrom": (0.02, 0.10),
    "amplitude": (0.0, 0.10),
    "response": (0.0, 0.06),
    "gain": (0.001, 0.02),
    "ratio": (0.001, 0.03),
    "ratio_factor": (0.8, 1.25),
    "lattice": (-0.003, 0.003),
}
#: Lattice constants are drawn in steps, so that what depends on them alone is computed once.
_LATTICE_STEP: Final = 0.001


@dataclass(frozen=True)
class ListShape:
    """How a candidate list is made up, which says how long it is.

    Attributes
    ----------
    dopants, substitutes
        How many elements are looked for.
    antisites, complexes
        As for `classes.candidates`.
    short
        Whether vacancies of the metal and oxygen are left out (L5).
    """

    dopants: int = 1
    substitutes: int = 0
    antisites: bool = False
    complexes: bool = False
    short: bool = False


def random_shape(rng: np.random.Generator, library: ResponseLibrary) -> ListShape:
    """Mostly the seven roles with one dopant; more dopants, shorter and extended lists in about half of the draws.

    Chalcogens are substituted only where the library holds columns of two different ones.
    """
    mixed = set(columns.standard_columns()) <= {*library.columns, *columns.METALS}
    dopants = int(rng.choice([1, 2, 3, 4], p=[0.7, 0.12, 0.1, 0.08]))
    kind = rng.random()
    if kind < 0.1:
        return ListShape(dopants, short=True)
    if kind < 0.3:
        substitutes = int(rng.integers(0, 3)) * mixed
        return ListShape(dopants, substitutes, bool(rng.random() < 0.5), bool(rng.random() < 0.3))
    return ListShape(dopants)


def random_candidates(rng: np.random.Generator, case: Case, shape: ListShape) -> tuple[Candidate, ...]:
    """A candidate list of a shape; the dopants are the case's."""
    others = [x for x in columns.CHALCOGENS if x != case.host.chalcogen]
    substitutes = rng.permutation(np.array(others))[: shape.substitutes]
    listed = classes.candidates(
        case.host.name, case.dopants, [str(s) for s in substitutes], shape.antisites, shape.complexes
    )
    return tuple(c for c in listed if not shape.short or c.role in classes.L5)


def random_case(
    rng: np.random.Generator,
    dopant_count: int,
    outer_limit_mrad: float,
    library: ResponseLibrary | None = None,
) -> Case:
    """A host, dopants and a condition: half of them on the benchmark's grid, half with continuous angles.

    Parameters
    ----------
    library
        Where it is given, the convergence angle is continuous too, as far as the library holds it.
    """
    host = list(materials.hosts().values())[rng.integers(len(materials.hosts()))]
    dopants = tuple(
        str(d)
        for d in rng.choice(np.array(materials.benchmark_dopants(host.name)), dopant_count, replace=False)
    )
    kv = BENCHMARK_ENERGIES_KV[rng.integers(len(BENCHMARK_ENERGIES_KV))]
    convergence = BENCHMARK_CONVERGENCE_MRAD
    if rng.random() < 0.5:
        inner, outer = BENCHMARK_DETECTORS_MRAD[rng.integers(len(BENCHMARK_DETECTORS_MRAD))]
    else:
        inner = rng.uniform(*TRAINING_RANGES["inner_mrad"])
        outer = min(outer_limit_mrad, inner + rng.uniform(*TRAINING_RANGES["detector_width_mrad"]))
        if library is not None:
            drawn = float(rng.uniform(*TRAINING_RANGES["convergence_semi_angle_mrad"]))
            try:
                library.check(kv, drawn, float(inner), float(outer))
            except LibraryError:
                pass
            else:
                convergence = drawn
    return Case(host, dopants, kv, float(inner), float(outer), convergence)


def random_truth(
    rng: np.random.Generator, case: Case, candidates: tuple[Candidate, ...] | None = None
) -> Scene:
    """A scene with all its uncertainties, drawn over `TRAINING_RANGES`.

    Parameters
    ----------
    candidates
        The seven roles with the case's dopants where it is left out.
    """
    r = TRAINING_RANGES

    def log_uniform(name: str) -> float:
        low, high = r[name]
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    hazy = rng.random() < 0.25
    nuisance = Nuisance(
        jitter_angstrom=rng.uniform(*r["jitter_angstrom"]),
        shift_angstrom=rng.uniform(*r["shift_angstrom"]),
        amplitude=0.0 if rng.random() < 0.5 else rng.uniform(*r["amplitude"]),
        gain=log_uniform("gain"),
        ratio=log_uniform("ratio"),
        background=log_uniform("gain") / 2,
        sigma_angstrom=log_uniform("gain"),
        response=0.0 if rng.random() < 0.3 else rng.uniform(*r["response"]),
        defects=0.03,
    )
    optics = case.optics(rng.uniform(*r["sigma_angstrom"]))
    steps = round(r["lattice"][1] / _LATTICE_STEP)
    strain = 0 if rng.random() < 0.5 else int(rng.integers(-steps, steps + 1))
    host = msgspec.structs.replace(case.host, a_angstrom=case.host.a_angstrom * (1 + strain * _LATTICE_STEP))
    return Scene(
        host=host,
        candidates=candidates or classes.candidates(case.host.name, case.dopants),
        optics=optics,
        dose_e_per_angstrom2=log_uniform("dose_e_per_angstrom2"),
        background=rng.uniform(0, 1.0) if hazy else rng.uniform(0, 0.06),
        ratio=1.0 if rng.random() < 0.5 else rng.uniform(*r["ratio_factor"]),
        nuisance=nuisance,
    )
