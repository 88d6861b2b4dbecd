"""A frame solved for all its columns at once, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role, candidates
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.encoding.knowledge import knowledge
from stemctx_core.lattice import find_sites
from stemctx_core.refining.amplitudes import expected, measure
from stemctx_core.refining.likelihood import likelihood
from stemctx_core.refining.matrices import joined_pixels, splines
from stemctx_core.refining.ridge import along_ridge
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables
from tests.core.frames import MAADF, FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of, matched

RECIPE = FrameRecipe(
    shape=(200, 200), pixel_size_angstrom=0.3, dose_e_per_angstrom2=1e5, shear=0.003, warp_angstrom=0.1, seed=21
)


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def test_splines_add_up_to_one_everywhere() -> None:
    whole = splines((40, 64), 0.3) @ np.ones(splines((40, 64), 0.3).shape[1])
    np.testing.assert_allclose(whole, 1.0, atol=1e-12)


def test_fine_pixels_are_joined_and_positions_follow() -> None:
    image = np.zeros((64, 64))
    image[20:22, 30:32] = 1.0
    joined, positions, pixel = joined_pixels(image, np.array([[20.5, 30.5]]), 0.13)
    assert pixel == pytest.approx(0.26)
    assert np.unravel_index(joined.argmax(), joined.shape) == (10, 15)
    np.testing.assert_allclose(positions, [[10, 15]])


def test_amplitudes_are_those_that_the_frame_was_made_with() -> None:
    frame, library, host = make_frame(RECIPE), shipped_library(), materials.host("WSe2")
    grid = find_sites(frame.image, host, frame.expected_ratio, RECIPE.pixel_size_angstrom)
    found = measure(frame.image, grid, library, host, RECIPE.optics)
    assert found.ratio == pytest.approx(frame.expected_ratio, rel=0.04)
    # The source and the random displacements blur together.
    assert found.sigma_angstrom == pytest.approx(0.40, abs=0.05)
    assert not found.spoiled.mean() > 0.05
    listed = candidates("WSe2", ("V",))
    means = expected(library, host, listed, [RECIPE.optics])[0]
    from scipy.spatial import cKDTree

    _, nearest = cKDTree(frame.positions_px).query(grid.positions_px)
    inside = ((grid.positions_px > 12) & (grid.positions_px < 187)).all(axis=1)
    for mean, candidate in zip(means, listed, strict=True):
        mine = inside & (frame.role[nearest] == candidate.role)
        if mine.sum() >= 5:
            assert np.median(found.relative[mine]) == pytest.approx(mean, abs=0.06), candidate.species


def test_the_host_is_expected_to_be_one_and_a_vacant_column_none() -> None:
    listed = candidates("WSe2", ("Ti",))
    means = expected(shipped_library(), materials.host("WSe2"), listed, [MAADF])[0]
    by_role = {c.role: m for c, m in zip(listed, means, strict=True)}
    assert by_role[Role.METAL] == pytest.approx(1, abs=1e-3)
    assert by_role[Role.CHALCOGEN_PAIR] == pytest.approx(1, abs=1e-3)
    assert by_role[Role.METAL_VACANCY] == pytest.approx(0, abs=1e-3)
    assert 0.3 < by_role[Role.CHALCOGEN_VACANCY] < by_role[Role.OXYGEN] < 0.6


def test_defects_of_a_simulated_frame_are_found(analyzer: FrameAnalyzer) -> None:
    frame = make_frame(RECIPE)
    result = analyzer.analyze(frame.image, context_of(RECIPE), thorough=True)
    assert result.refusal is None
    true, told, _ = matched(frame, result)
    for role in (Role.CHALCOGEN_VACANCY, Role.DOPANT):
        hit = np.count_nonzero((true == role) & (told == role))
        assert hit >= 0.85 * np.count_nonzero(true == role), role
        assert hit >= 0.85 * np.count_nonzero(told == role), role


def test_angles_along_the_ridge_give_the_ratio_of_the_frame() -> None:
    library, host = shipped_library(), materials.host("WSe2")
    unknown = replace_angles(None)
    optics, words = along_ridge(library, host, knowledge(library, unknown), 0.87, 0.4)
    assert len(optics) > 2
    for each in optics:
        metal, chalcogen, single = response_tables(library, ["W", "Se+Se", "Se"], each)[:, 0]
        assert chalcogen / metal == pytest.approx(0.87, rel=0.15)
        assert single / chalcogen == pytest.approx(0.45, abs=0.05), "nearly the same all along it"
    assert "0.87" in words[0]
    declared, silent = along_ridge(library, host, knowledge(library, replace_angles((70, 200))), 0.78, 0.4)
    assert len(declared) == 1
    assert not silent
    wrong, said = along_ridge(library, host, knowledge(library, replace_angles((35, 70))), 0.80, 0.4)
    assert len(wrong) > 1
    assert said[0].startswith("The declared angles")


def replace_angles(angles: tuple[float, float] | None) -> ImagingContext:
    def known(value: float) -> Known:
        return Known(value, Source.USER)

    inner, outer = (known(v) for v in angles) if angles else (Missing("not given"), Missing("not given"))
    return ImagingContext("WSe2", ("Ti",), known(80), known(30), inner, outer)


def test_detectors_that_scatter_together_count_less_than_independent_ones() -> None:
    rng = np.random.default_rng(5)
    listed = candidates("WSe2", ())
    sublattice = np.repeat([0, 1], 800).astype(np.int8)
    own, shared = rng.normal(0, 0.08, (2, 1600)), rng.normal(0, 0.08, 1600)
    means = [np.array([[1, 0, 1, 0.45, 0, 0.52]])] * 2
    judged = np.ones(1600, bool)
    apart = likelihood(1 + own * np.sqrt(2), sublattice, judged, listed, means)
    together = likelihood(1 + own + shared, sublattice, judged, listed, means)
    vacancy = [c.species for c in listed].index("vac_Se")
    assert together.separation[vacancy] < 0.9 * apart.separation[vacancy]
    assert not apart.unlike.any()


def test_a_hole_is_abstained_from(analyzer: FrameAnalyzer) -> None:
    recipe = replace(RECIPE, prevalence={Role.DOPANT: 0.01})
    frame = make_frame(recipe)
    image = frame.image.astype(float)
    y, x = np.mgrid[:200, :200]
    inside = np.hypot(y - 100, x - 100) * 0.3 < 6.5
    image[inside] = np.quantile(image, 0.05)
    result = analyzer.analyze(image, context_of(recipe), thorough=True)
    assert result.refusal is None
    away = np.hypot(result.sites.y_px - 100, result.sites.x_px - 100) * 0.3
    reasons = np.array(result.reasons)[result.sites.reason]
    middle = away < 4.0
    assert np.mean([r.startswith(("no lattice", "unknown")) for r in reasons[middle]]) > 0.9


def test_a_ratio_that_declared_angles_cannot_give_is_told_and_averaged_over(analyzer: FrameAnalyzer) -> None:
    recipe = replace(RECIPE, optics=Optics(80.0, 30.0, 70.0, 200.0, 0.40))
    frame = make_frame(recipe)
    wrong = context_of(recipe, inner_mrad=Known(55, Source.USER), outer_mrad=Known(120, Source.USER))
    result = analyzer.analyze(frame.image, wrong)
    assert result.refusal is None
    assert any("averaged over the angles that would give it" in w for w in result.warnings)
