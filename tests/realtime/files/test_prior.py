"""The prior and the thorough way of judging, as `stemctx analyze` takes them."""

from __future__ import annotations

import pytest

from realtime.client.supervisor import LocalServer
from realtime.files.judging import Judge, JudgeSettings
from stemctx_core.chemistry.classes import priors
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of

RECIPE = FrameRecipe(shape=(150, 150), pixel_size_angstrom=0.3, dose_e_per_angstrom2=5e4, seed=17)


def test_a_prevalence_reaches_the_result() -> None:
    with Judge(JudgeSettings(prevalence=("vac_Se=0.08",))) as judge:
        result = judge.one(make_frame(RECIPE).image, context_of(RECIPE), FrameIdentity())
    assert result.prior == priors(result.candidates, {"vac_Se": 0.08})


def test_an_image_is_judged_by_its_own_rates_and_all_columns_at_once() -> None:
    with Judge(JudgeSettings(estimate_prevalence=True, thorough=True)) as judge:
        result = judge.one(make_frame(RECIPE).image, context_of(RECIPE), FrameIdentity())
    assert result.refusal is None
    assert any(w.startswith("Prior estimated from the image") for w in result.warnings)
    assert result.timing_ms["refining"] > 0


def test_a_server_judges_by_the_prior_that_it_is_told() -> None:
    with (
        LocalServer() as server,
        Judge(JudgeSettings(server=server.address, prevalence=("vac_Se=0.08",))) as judge,
    ):
        result = judge.one(make_frame(RECIPE).image, context_of(RECIPE), FrameIdentity())
    assert result.prior == pytest.approx(priors(result.candidates, {"vac_Se": 0.08}))


def test_a_server_judges_in_one_go() -> None:
    with pytest.raises(InputError, match="--thorough"):
        Judge(JudgeSettings(server="tcp://127.0.0.1:1", thorough=True))
