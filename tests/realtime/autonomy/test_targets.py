"""Only sure, wanted flags are targets; a refusal is none."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.autonomy.targets import wanted_sites
from stemctx_core.errors import InputError
from stemctx_core.results import DECISIONS, Decision
from tests.realtime.support import refused, result


def test_targets_are_the_flagged_sites_the_surest_first() -> None:
    given = result(200)
    rows = wanted_sites(given, min_probability=0.5)
    flagged = given.sites.decision == DECISIONS.index(Decision.FLAG)
    probability = given.sites.probability
    assert len(rows) == int(np.sum(flagged & (probability >= 0.5))) > 0
    assert list(probability[rows]) == sorted(probability[rows], reverse=True)


def test_only_wanted_species() -> None:
    given = result(300)
    rows = wanted_sites(given, species={"vac_Se"}, min_probability=0.0)
    assert {given.species(row) for row in rows} == {"vac_Se"}


def test_a_refusal_is_no_target() -> None:
    assert wanted_sites(refused()) == []


def test_what_cannot_be_wanted_is_told() -> None:
    with pytest.raises(InputError, match="V_Mo cannot occur"):
        wanted_sites(result(3), species={"V_Mo"})
    with pytest.raises(InputError, match="from 0 to 1"):
        wanted_sites(result(3), min_probability=90)
