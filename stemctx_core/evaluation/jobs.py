"""Which scenes are drawn: the benchmark's cases, and materials and conditions that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.columns import VACANT
from stemctx_core.dataset import cases as known
from stemctx_core.dataset.cases import Case, benchmark_cases
from stemctx_core.errors import StemctxError
from stemctx_core.evaluation.plan import Plan
from stemctx_core.evaluation.scenes import EXACT, Job, Mode, Perturbation
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables

#: Ends every key, so that no other room of the project draws from the same generator.
_MARK: Final = 90571
#: Doses at which unseen conditions and perturbed libraries are measured.
CONDITION_DOSES: Final = (1e4, 1e5)


def benchmark_jobs(plan: Plan, seed: int, mode: Mode, dose: float) -> list[Job]:
    """One scene of each case; of all 576, or of some drawn evenly."""
    listed = benchmark_cases()
    order = np.random.default_rng([seed, 1, _MARK]).permutation(len(listed))[: plan.cases]
    return [
        Job(
            case=listed[i],
            scene=int(i),
            dose_e_per_angstrom2=dose,
            mode=mode,
            repeats=plan.repeats,
            key=(seed, 2, list(Mode).index(mode), round(np.log10(dose)), int(i), _MARK),
            reference_repeats=plan.reference_repeats,
        )
        for i in order
    ]


def condition_jobs(
    plan: Plan, seed: int, name: str, cases: Sequence[Case], dose: float, off: Perturbation = EXACT
) -> list[Job]:
    """Scenes of some cases, drawn evenly."""
    tag = int.from_bytes(name.encode()[:24], "little") % (1 << 31)
    rng = np.random.default_rng([seed, 3, tag, _MARK])
    rounds = plan.condition_scenes // len(cases) + 1
    order = np.concatenate([rng.permutation(len(cases)) for _ in range(rounds)])[: plan.condition_scenes]
    return [
        Job(
            case=cases[i],
            scene=n,
            dose_e_per_angstrom2=dose,
            mode=Mode.FRAME,
            repeats=plan.condition_repeats,
            key=(seed, 4, tag, round(np.log10(dose)), n, _MARK),
            reference_repeats=plan.condition_reference_repeats,
            off=off,
        )
        for n, i in enumerate(order)
    ]


def unseen_cases() -> Mapping[str, list[Case]]:
    """Cases of each kind of condition that no model is trained on; everything else about them is the benchmark's."""
    seen = benchmark_cases()
    one_each = {(c.host.name, c.high_tension_kv, c.inner_mrad): c for c in seen}.values()
    dopants = sorted({d for host in materials.hosts() for d in materials.benchmark_dopants(host)})
    found = {
        "unseen dopants": [replace(c, dopants=(d,)) for c in one_each for d in materials.HELD_OUT_DOPANTS],
        "unseen hosts": [
            Case(host, (d,), kv, *detector)
            for host in materials.held_out_hosts().values()
            for d in dopants
            if d != host.metal
            for kv in known.BENCHMARK_ENERGIES_KV
            for detector in known.BENCHMARK_DETECTORS_MRAD
        ],
    }
    for kv in known.HELD_OUT_ENERGIES_KV:
        found[f"unseen energy {kv:g} kV"] = [
            replace(c, high_tension_kv=kv) for c in seen if c.high_tension_kv == seen[0].high_tension_kv
        ]
    first = seen[0].inner_mrad
    for inner, outer in known.HELD_OUT_DETECTORS_MRAD:
        found[f"unseen detector {inner:g}–{outer:g} mrad"] = [
            replace(c, inner_mrad=inner, outer_mrad=outer) for c in seen if c.inner_mrad == first
        ]
    for angle in known.HELD_OUT_CONVERGENCES_MRAD:
        found[f"unseen convergence {angle:g} mrad"] = [
            replace(c, convergence_semi_angle_mrad=angle) for c in seen
        ]
    return found


def answerable(library: ResponseLibrary, cases: Sequence[Case]) -> tuple[list[Case], str]:
    """Cases that the response library can answer for, and the reason why the others are left out."""
    kept, reason = [], ""
    told: dict[tuple[object, ...], str] = {}
    for case in cases:
        optics = case.optics(0.45)
        key = (case.host.name, case.dopants, optics)
        if key not in told:
            told[key] = _obstacle(library, case, optics)
        if told[key]:
            reason = told[key]
        else:
            kept.append(case)
    return kept, reason


def _obstacle(library: ResponseLibrary, case: Case, optics: Optics) -> str:
    try:
        listed = classes.candidates(case.host.name, case.dopants)
        missing = [c.column for c in listed if c.column not in (*library.columns, VACANT)]
        if missing:
            return f"the response library has no column of {', '.join(missing)}"
        response_tables(library, [listed[0].column], optics)
    except StemctxError as error:
        return str(error)
    return ""
