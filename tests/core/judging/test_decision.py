"""What is said of a site follows from its posterior and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.chemistry.classes import candidates
from stemctx_core.judging.conformal import ConformalSets
from stemctx_core.judging.decision import OBSTACLES, UNKNOWN, Thresholds, decide
from stemctx_core.results import DECISIONS, EDGE

WSE2 = candidates("WSe2", ("V",))
NAMES = [c.species for c in WSE2]


def verdict(obstacle: int = 0, dose: float = 12345.0, **probabilities: float) -> tuple[str, str]:
    posterior = np.array([[probabilities.get(name, 0.0) for name in NAMES]], np.float32)
    held = ConformalSets().sets(posterior, 4.0, 0.95)
    told = decide(
        posterior, WSE2, np.array([obstacle], np.int8), Thresholds(), np.full(len(posterior), dose), held
    )
    return DECISIONS[told.decision[0]].value, told.reasons[told.reason[0]]


@pytest.mark.parametrize(
    ("probabilities", "decision", "words"),
    [
        ({"Se2": 0.99, "vac_Se": 0.01}, "pass", ""),
        ({"Se2": 0.6, "vac_Se": 0.4}, "pass", ""),
        ({"V_W": 0.98, "W": 0.02}, "flag", ""),
        ({"vac_Se": 0.55, "O_Se": 0.44, "Se2": 0.01}, "flag", "vac_Se or O_Se cannot be told apart"),
        ({"vac_Se": 0.6, "Se2": 0.4}, "abstain", "vac_Se or Se2 cannot be told apart"),
    ],
)
def test_decisions(probabilities: dict[str, float], decision: str, words: str) -> None:
    told, reason = verdict(**probabilities)
    assert told == decision
    assert (words in reason) if words else reason == ""


def test_the_reason_names_the_dose() -> None:
    assert "(1.2 × 10⁴ e/Å²)" in verdict(vac_Se=0.6, Se2=0.4)[1]


@pytest.mark.parametrize("text", [EDGE, UNKNOWN])
def test_an_obstacle_is_an_abstention_whatever_the_posterior(text: str) -> None:
    assert verdict(OBSTACLES.index(text), V_W=1.0) == ("abstain", text)


def test_equal_reasons_are_stored_once() -> None:
    posterior = np.tile(
        np.array([[0.6 if n == "vac_Se" else 0.4 if n == "Se2" else 0 for n in NAMES]], "f4"), (50, 1)
    )
    told = decide(posterior, WSE2, np.zeros(50, np.int8), Thresholds(), np.full(50, 1e4), posterior > 0.1)
    assert len(told.reasons) == 2
    assert set(told.reason) == {1}


def test_a_set_is_named_whole_and_never_as_one() -> None:
    posterior = np.array([[{"vac_Se": 0.45, "Se2": 0.4, "O_Se": 0.15}.get(n, 0.0) for n in NAMES]] * 2, "f4")
    held = np.stack([posterior[0] > 0.1, posterior[0] > 0.42])
    told = decide(posterior, WSE2, np.zeros(2, np.int8), Thresholds(), np.full(2, 1e4), held)
    words = [told.reasons[r] for r in told.reason]
    assert words[0].startswith("vac_Se or Se2 or O_Se cannot be told apart")
    assert words[1].startswith("vac_Se or Se2 cannot be told apart")
