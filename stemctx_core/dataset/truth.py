"""What is really there: a case with a specimen's and a microscope's imperfections, drawn at random."""

from __future__ import annotations

from typing import Final

import numpy as np

from stemctx_core import classes, materials
from stemctx_core.dataset.cases import BENCHMARK_DETECTORS_MRAD, BENCHMARK_ENERGIES_KV, Case
from stemctx_core.encoding import Nuisance, Scene
from stemctx_core.simulation.render import Optics

#: Ranges that the model is trained on; they go into its card.
TRAINING_RANGES: Final = {
    "dose_e_per_angstrom2": (8e2, 1.2e6),
    "sigma_angstrom": (0.30, 0.65),
    "background": (0.0, 1.0),
    "inner_mrad": (40.0, 100.0),
    "detector_width_mrad": (40.0, 130.0),
    "jitter_angstrom": (0.02, 0.08),
    "shift_angstrom": (0.02, 0.10),
    "amplitude": (0.0, 0.10),
    "response": (0.0, 0.05),
    "gain": (0.001, 0.02),
    "ratio": (0.001, 0.03),
    "ratio_factor": (0.8, 1.25),
}


def random_case(rng: np.random.Generator, dopant_count: int, outer_limit_mrad: float) -> Case:
    """A host, dopants and a condition: half of them on the benchmark's grid, half with continuous angles."""
    host = list(materials.hosts().values())[rng.integers(len(materials.hosts()))]
    dopants = tuple(
        str(d)
        for d in rng.choice(np.array(materials.benchmark_dopants(host.name)), dopant_count, replace=False)
    )
    kv = BENCHMARK_ENERGIES_KV[rng.integers(len(BENCHMARK_ENERGIES_KV))]
    if rng.random() < 0.5:
        inner, outer = BENCHMARK_DETECTORS_MRAD[rng.integers(len(BENCHMARK_DETECTORS_MRAD))]
    else:
        inner = rng.uniform(*TRAINING_RANGES["inner_mrad"])
        outer = min(outer_limit_mrad, inner + rng.uniform(*TRAINING_RANGES["detector_width_mrad"]))
    return Case(host, dopants, kv, float(inner), float(outer))


def random_truth(rng: np.random.Generator, case: Case) -> Scene:
    """A scene with all its uncertainties, drawn over `TRAINING_RANGES`."""
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
    return Scene(
        host=case.host,
        candidates=classes.candidates(case.host.name, case.dopants),
        optics=Optics(
            case.high_tension_kv,
            case.convergence_semi_angle_mrad,
            case.inner_mrad,
            case.outer_mrad,
            rng.uniform(*r["sigma_angstrom"]),
        ),
        dose_e_per_angstrom2=log_uniform("dose_e_per_angstrom2"),
        background=rng.uniform(0, 1.0) if hazy else rng.uniform(0, 0.06),
        ratio=1.0 if rng.random() < 0.5 else rng.uniform(*r["ratio_factor"]),
        nuisance=nuisance,
    )
