"""A model is asked within the energies and angles that its card names, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.dataset.cases import (
    BENCHMARK_DETECTORS_MRAD,
    BENCHMARK_ENERGIES_KV,
    HELD_OUT_CONVERGENCES_MRAD,
    HELD_OUT_DETECTORS_MRAD,
)
from stemctx_core.dataset.truth import TRAINING_RANGES
from stemctx_core.errors import BundleError, FrameError
from stemctx_core.judging.trained import TrainedRanges
from stemctx_core.scene import Missing
from stemctx_core.simulation.optics import Optics

CARD = {
    "training": {
        "high_tensions_kv": list(BENCHMARK_ENERGIES_KV),
        "ranges": {name: list(span) for name, span in TRAINING_RANGES.items()},
    }
}
TRAINED = TrainedRanges.from_card(CARD)
HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.4)


def test_the_shipped_card_names_its_ranges() -> None:
    assert TrainedRanges.from_card(load_bundle().card) == TRAINED


@pytest.mark.parametrize("kv", [60.0, 80.0, 100.0, 120.0, 200.0])
def test_energies_between_trained_ones_and_held_out_angles_are_answered(kv: float) -> None:
    for inner, outer in (*BENCHMARK_DETECTORS_MRAD, *HELD_OUT_DETECTORS_MRAD):
        for convergence in HELD_OUT_CONVERGENCES_MRAD:
            TRAINED.check(Optics(kv, convergence, inner, outer, 0.4))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"high_tension_kv": 300.0}, "beam energy 300 kV (trained on 60 to 200 kV)"),
        ({"high_tension_kv": 40.0}, "beam energy 40 kV"),
        ({"convergence_semi_angle_mrad": 21.0}, "convergence angle 21 mrad (trained on 25 to 35 mrad)"),
        ({"inner_mrad": 106.0}, "inner angle 106 mrad (trained on 40 to 100 mrad)"),
        ({"outer_mrad": 100.0}, "outer less inner angle 30 mrad (trained on 40 to 130 mrad)"),
        ({"outer_mrad": 210.0}, "outer less inner angle 140 mrad"),
    ],
)
def test_what_lies_outside_is_said(change: dict[str, float], said: str) -> None:
    with pytest.raises(FrameError) as refused:
        TRAINED.check(replace(HAADF, **change))
    assert refused.value.code == "outside_training"
    assert said in refused.value.reason
    assert refused.value.reason.count("trained on") == 2
    assert refused.value.fix


def test_everything_outside_is_said_at_once() -> None:
    with pytest.raises(FrameError, match=r"300 kV.*inner angle 120"):
        TRAINED.check(Optics(300.0, 30.0, 120.0, 200.0, 0.4))


def test_a_convergence_that_was_not_declared_is_not_looked_at() -> None:
    TRAINED.check(replace(HAADF, convergence_semi_angle_mrad=20.0), frozenset({Missing.CONVERGENCE}))


@pytest.mark.parametrize("card", [{}, {"training": {}}, {"training": {"high_tensions_kv": [], "ranges": {}}}])
def test_a_card_that_does_not_say_is_refused(card: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="does not say what energies"):
        TrainedRanges.from_card(card)
