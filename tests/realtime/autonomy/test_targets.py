"""Only fresh, sure, wanted flags are targets; a refusal is none."""

from __future__ import annotations

import time

import numpy as np
import pytest

from realtime.autonomy.targets import fresh_targets
from stemctx_core.errors import InputError
from stemctx_core.results import DECISIONS, Decision
from tests.realtime.support import refused, result

NOW = time.monotonic_ns()


def test_targets_are_the_flagged_sites_the_surest_first() -> None:
    given = result(200)
    targets = fresh_targets(given, NOW, max_age_s=1.0, min_probability=0.5, now_ns=NOW)
    flagged = given.sites.decision == DECISIONS.index(Decision.FLAG)
    assert len(targets) == int(np.sum(flagged & (given.sites.probability >= 0.5))) > 0
    assert [t.probability for t in targets] == sorted((t.probability for t in targets), reverse=True)


def test_only_wanted_species() -> None:
    targets = fresh_targets(
        result(300), NOW, max_age_s=1.0, species={"vac_Se"}, min_probability=0.0, now_ns=NOW
    )
    assert {t.species for t in targets} == {"vac_Se"}


def test_a_refusal_is_no_target() -> None:
    assert fresh_targets(refused(), NOW, max_age_s=1.0, now_ns=NOW) == ()


@pytest.mark.parametrize(("age_s", "any_"), [(0.0, True), (0.99, True), (1.01, False), (-0.5, False)])
def test_old_results_and_results_of_the_future_are_no_targets(age_s: float, any_: bool) -> None:
    now = NOW + int(age_s * 1e9)
    assert bool(fresh_targets(result(200), NOW, max_age_s=1.0, min_probability=0.0, now_ns=now)) is any_


def test_a_target_grows_stale_while_it_waits() -> None:
    target = fresh_targets(result(200), time.monotonic_ns(), max_age_s=5.0, min_probability=0.0)[0]
    assert target.is_fresh(5.0)
    time.sleep(0.02)
    assert not target.is_fresh(0.01)


def test_what_cannot_be_wanted_is_told() -> None:
    with pytest.raises(InputError, match="V_Mo cannot occur"):
        fresh_targets(result(3), NOW, max_age_s=1.0, species={"V_Mo"}, now_ns=NOW)
    with pytest.raises(InputError, match="from 0 to 1"):
        fresh_targets(result(3), NOW, max_age_s=1.0, min_probability=90, now_ns=NOW)
