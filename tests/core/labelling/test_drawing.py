"""Which sites of a frame are drawn, and how they are shown."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.errors import InputError
from stemctx_core.labelling.crops import PICTURE_PX, crop, levels
from stemctx_core.labelling.making import sites_of
from stemctx_core.labelling.sampling import Amounts, draw
from stemctx_core.results import EDGE, Decision, Refusal
from tests.core.labelling.labelled_frame import AMOUNTS, context, image, judged, made


def test_sites_are_drawn_from_every_stratum_with_their_probability() -> None:
    _, sites = made()
    result = judged()
    flagged = {s.stratum for s in sites if s.decision is Decision.FLAG}
    assert {f"flag {name}" for name in result.flag_counts()} == flagged
    assert {"pass M", "pass X"} <= {s.stratum for s in sites}
    for stratum in {s.stratum for s in sites}:
        mine = [s for s in sites if s.stratum == stratum]
        members = len(mine) / mine[0].inclusion  # type: ignore[operator]
        assert members == pytest.approx(round(members))
        assert len({s.inclusion for s in mine}) == 1


def test_weighted_by_their_probability_drawn_sites_stand_for_the_whole_frame() -> None:
    """The Horvitz-Thompson estimate of a total has no bias: over many draws its mean is the total."""
    result = judged()
    unseen = [result.reasons.index(EDGE)] if EDGE in result.reasons else []
    members = np.flatnonzero(~np.isin(result.sites.reason, unseen))
    value = result.sites.entropy_nats
    estimates = []
    for seed in range(300):
        drawn = draw(result, AMOUNTS, np.random.default_rng(seed))
        assert sum(1 / d.inclusion for d in drawn) == pytest.approx(len(members))
        estimates.append(sum(value[d.site] / d.inclusion for d in drawn))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(value[members].sum(), abs=4 * error)


def test_a_draw_is_repeatable_and_its_order_tells_nothing_of_the_strata() -> None:
    result = judged()
    first, again, other = (draw(result, AMOUNTS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    strata = [d.stratum for d in first]
    assert strata != sorted(strata)
    assert sum(a != b for a, b in pairwise(strata)) > len(set(strata))


def test_amounts_that_draw_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="No sites"):
        Amounts(0, 0, 0).validated()
    with pytest.raises(InputError, match="No sites"):
        Amounts(-1, 2, 3).validated()


def test_a_frame_without_a_lattice_is_a_refusal() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (256, 256))
    assert isinstance(sites_of(noise, context(), "noise", FrameAnalyzer.shipped(), AMOUNTS, 0), Refusal)


def test_patches_of_a_book_judge_as_the_frame_did() -> None:
    frame, sites = made()
    cut = CutPatches(
        np.stack([np.frombuffer(s.patch, "<f4").reshape(32, 32) for s in sites]),
        np.array([s.y_px for s in sites], np.float32),
        np.array([s.x_px for s in sites], np.float32),
        np.array([list(Sublattice).index(s.sublattice) for s in sites]),
    )
    result = judged()
    for site, patch in zip(sites, cut.patches, strict=True):
        at = int(np.hypot(result.sites.y_px - site.y_px, result.sites.x_px - site.x_px).argmin())
        assert result.species(at) == site.found
        near = image()[round(site.y_px) - 2 : round(site.y_px) + 3, round(site.x_px) - 2 : round(site.x_px) + 3]
        assert float(patch[13:19, 13:19].mean()) == pytest.approx(float(near.mean()), rel=0.5, abs=1.5)
    assert frame.calibration == result.calibration


def test_the_site_stands_in_the_middle_of_its_picture() -> None:
    frame = np.zeros((200, 240), np.float32)
    y, x = np.mgrid[:200, :240]
    frame += np.exp(-((y - 60.3) ** 2 + (x - 151.6) ** 2) / 8)
    for width in (12.0, 80.0, 300.0):
        shown = np.asarray(Image.open(io.BytesIO(crop(frame, (60.3, 151.6), width, (0.0, 1.0)))), float)
        assert shown.shape == (PICTURE_PX, PICTURE_PX)
        rows, columns = np.mgrid[:PICTURE_PX, :PICTURE_PX]
        middle = (PICTURE_PX - 1) / 2
        assert (rows * shown).sum() / shown.sum() == pytest.approx(middle, abs=0.6)
        assert (columns * shown).sum() / shown.sum() == pytest.approx(middle, abs=0.6)


def test_levels_endure_what_is_not_finite() -> None:
    frame = np.full((40, 40), np.nan)
    assert levels(frame) == (0.0, 1.0)
    frame[3] = 7
    low, high = levels(frame)
    assert low == 7 < high
    assert crop(frame, (3.0, 3.0), 10.0, (low, high)).startswith(b"\x89PNG")
