"""Mirror twins in one frame, and vacancies that a frame's scatter forbids to call."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import candidates
from stemctx_core.judging.decision import OBSTACLES, TWIN, Thresholds, decide
from stemctx_core.judging.twins import twin_sites
from stemctx_core.judging.withheld import withheld_of
from stemctx_core.results import DECISIONS, Decision
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.render import render_columns, response_tables
from tests.core.frames import HAADF, FrameRecipe
from tests.core.judging.test_analysis import context_of

A_PX = 11.0


def lattice(side: int) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.mgrid[:side, :side]
    metal = np.stack([(i * np.sqrt(3) / 2).ravel(), (j + 0.5 * (i % 2)).ravel()], axis=1) * A_PX
    positions = np.concatenate([metal, metal + (A_PX / np.sqrt(3), 0)])
    return positions, np.repeat([0, 1], len(metal)).astype(np.int8)


@pytest.mark.parametrize("seed", range(5))
def test_a_grain_the_other_way_round_is_found_and_a_plain_crystal_has_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions, sublattice = lattice(28)
    level = np.where(sublattice == 1, 0.78, 1.0) + rng.normal(0, 0.1, len(sublattice))
    assert not twin_sites(level, sublattice, positions, A_PX).any()
    beyond = positions[:, 0] > 190
    level[beyond] = np.where(sublattice == 0, 0.78, 1.0)[beyond] + rng.normal(0, 0.1, beyond.sum())
    found = twin_sites(level, sublattice, positions, A_PX)
    assert found[positions[:, 0] > 215].mean() > 0.97
    assert found[positions[:, 0] < 140].mean() < 0.03


@pytest.mark.parametrize("seed", range(20))
def test_columns_of_one_brightness_are_no_twins(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    positions, sublattice = lattice(40)
    level = 1.0 + rng.normal(0, 0.1, len(sublattice))
    level[rng.random(len(level)) < 0.03] = 0.5
    assert not twin_sites(level, sublattice, positions, A_PX).any()


def test_both_grains_of_a_frame_are_told_and_one_is_judged() -> None:
    positions, sublattice = lattice(24)
    pixel = 3.282 / A_PX
    kind = np.where(positions[:, 0] > 150, 1 - sublattice, sublattice)
    tables = response_tables(shipped_library(), ["W", "Se+Se"], HAADF)
    image = render_columns((250, 260), pixel, positions, kind, tables)
    counted = np.random.default_rng(4).poisson(image * 2e5 * pixel**2).astype(np.float32)
    recipe = FrameRecipe(pixel_size_angstrom=pixel)
    result = FrameAnalyzer.shipped().analyze(counted, context_of(recipe))
    assert result.refusal is None
    assert any("mirror twins" in w for w in result.warnings)
    reasons = np.array(result.reasons)[result.sites.reason]
    inside = (result.sites.x_px > 25) & (result.sites.x_px < 230)
    assert (reasons[inside & (result.sites.y_px > 180) & (result.sites.y_px < 200)] == TWIN).mean() > 0.9
    assert (reasons[inside & (result.sites.y_px < 100)] == TWIN).mean() < 0.02


def test_what_is_too_near_the_host_is_not_called_and_the_reason_says_so() -> None:
    listed = candidates("MoS2", ())
    separation = np.full(len(listed), 9.0)
    species = [c.species for c in listed]
    separation[species.index("vac_S")] = 1.8
    kept_back = withheld_of(listed, separation)
    assert [s for s, _ in kept_back] == ["vac_S"]
    assert "1.8 spreads of the S2 columns" in kept_back[0][1]
    posterior = np.full((2, len(listed)), 0.001, np.float32)
    posterior[0, species.index("vac_S")] = 0.99
    posterior[1, species.index("vac_S2")] = 0.99
    told = decide(
        posterior,
        listed,
        np.zeros(2, np.int8),
        Thresholds(),
        np.full(2, 1e4),
        np.ones_like(posterior, bool),
        kept_back,
    )
    assert [DECISIONS[d] for d in told.decision] == [Decision.ABSTAIN, Decision.FLAG]
    assert "vac_S is not called" in told.reasons[told.reason[0]]
    assert TWIN in OBSTACLES
