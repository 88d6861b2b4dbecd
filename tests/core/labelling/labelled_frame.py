"""A frame with drawn sites, which the tests of labelling share."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.labelling.making import sites_of
from stemctx_core.labelling.records import FrameRecord, SiteRecord
from stemctx_core.labelling.sampling import Amounts
from stemctx_core.results import FrameResult, Refusal
from tests.core.frames import FrameRecipe, make_frame

AMOUNTS = Amounts(flagged=4, undecided=3, passed=5)


def context() -> ImagingContext:
    return ImagingContext("WSe2", ("V",), *(known(v, Source.USER) for v in (80.0, 30.0, 70.0, 200.0)))


@lru_cache(maxsize=1)
def image() -> np.ndarray:
    return make_frame(FrameRecipe(shape=(320, 320), seed=3)).image


@lru_cache(maxsize=1)
def made() -> tuple[FrameRecord, list[SiteRecord]]:
    sites = sites_of(image(), context(), "one.tif", FrameAnalyzer.shipped(), AMOUNTS, 0)
    assert not isinstance(sites, Refusal)
    return sites


@lru_cache(maxsize=1)
def judged() -> FrameResult:
    return FrameAnalyzer.shipped().analyze(image(), context())
