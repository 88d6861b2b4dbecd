"""Whole frames of the 576 benchmark cases, from intensities to flags: every fourth case, or all of them.

`STEMCTX_CASES=all pytest tests/bench/test_all_cases.py -s` prints the figures that the README quotes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import HOST_ROLES, Role
from stemctx_core.dataset.cases import Case, benchmark_cases
from stemctx_core.evaluation.scenes import NEAR_Z
from stemctx_core.results import DECISIONS, Decision
from stemctx_core.simulation.optics import Optics
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of, matched

ALL = os.environ.get("STEMCTX_CASES") == "all"
ON_METAL = (Role.METAL, Role.DOPANT, Role.METAL_VACANCY)


@dataclass
class Tally:
    frames: int = 0
    refused: int = 0
    swapped: int = 0
    flags: int = 0
    right: int = 0
    at_defects: int = 0
    defects: int = 0

    def line(self) -> str:
        return (
            f"{self.frames} frames, {self.refused} refused, {self.swapped} with sublattices swapped; role right: "
            f"precision {self.right / self.flags:.4f} recall {self.right / self.defects:.4f}; any defect: "
            f"precision {self.at_defects / self.flags:.4f} recall {self.at_defects / self.defects:.4f}"
        )


def recipe_of(case: Case, dose: float, seed: int) -> FrameRecipe:
    return FrameRecipe(
        host=case.host.name,
        dopant=case.dopants[0],
        optics=Optics(case.high_tension_kv, 30.0, case.inner_mrad, case.outer_mrad, 0.4),
        shape=(320, 320),
        dose_e_per_angstrom2=dose,
        shear=0.003,
        warp_angstrom=0.1,
        jitter_angstrom=0.03,
        seed=seed,
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("dose", "precision", "far_recall"), [(1e4, 0.95, 0.80), (1e5, 0.98, 0.96)], ids=["1e4", "1e5"]
)
def test_frames_of_all_cases(dose: float, precision: float, far_recall: float) -> None:
    analyzer = FrameAnalyzer.shipped()
    everything, far = Tally(), Tally()
    for seed, case in enumerate(benchmark_cases()):
        if seed % 4 and not ALL:
            continue
        recipe = recipe_of(case, dose, seed)
        frame = make_frame(recipe)
        result = analyzer.analyze(frame.image, context_of(recipe))
        tallies = [everything]
        if case.dopants[0] not in NEAR_Z[case.host.metal]:
            tallies.append(far)
        true, told, decision = matched(frame, result)
        flagged = decision == DECISIONS.index(Decision.FLAG)
        defect = ~np.isin(true, list(HOST_ROLES))
        swapped = len(told) > 0 and np.mean(np.isin(true, ON_METAL) == np.isin(told, ON_METAL)) < 0.95
        for tally in tallies:
            tally.frames += 1
            tally.refused += result.refusal is not None
            tally.swapped += bool(swapped)
            tally.flags += int(flagged.sum())
            tally.right += int((flagged & (true == told)).sum())
            tally.at_defects += int((flagged & defect).sum())
            tally.defects += int(defect.sum())
    print(f"\n{dose:.0e} e/Å², all:   {everything.line()}")
    print(f"{dose:.0e} e/Å², far-Z: {far.line()}")
    assert everything.refused == 0
    # Where X2 is as bright as the metal, a noisy frame may show too few half columns to name the sublattices by.
    assert everything.swapped <= everything.frames // 500
    assert everything.right / everything.flags >= precision
    assert everything.at_defects / everything.flags >= 0.99
    assert far.at_defects / far.defects >= far_recall
