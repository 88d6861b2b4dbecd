"""What is like nothing that is listed is called unknown; what merely stands beside a rare defect is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Role
from stemctx_core.judging.decision import UNKNOWN
from stemctx_core.results import FrameResult
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of

CLEAN = FrameRecipe(shape=(320, 320), shear=0.003, warp_angstrom=0.1, jitter_angstrom=0.03)


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def unknown(result: FrameResult) -> NDArray[np.bool_]:
    assert result.refusal is None, result.refusal
    return np.array([reason == UNKNOWN for reason in result.reasons])[result.sites.reason]


@pytest.mark.parametrize("dose", [1e3, 1e4, 1e5, 1e6])
def test_clean_frames_hold_nothing_unknown(dose: float, analyzer: FrameAnalyzer) -> None:
    """At most one site in 200, with four times as many vacancies as are usual, and near-Z dopants too."""
    cases = [
        ("WSe2", "V", Optics(80.0, 30.0, 70.0, 200.0, 0.4)),
        ("WS2", "Pt", Optics(200.0, 30.0, 70.0, 200.0, 0.4)),
        ("MoTe2", "Nb", Optics(60.0, 30.0, 50.0, 120.0, 0.4)),
    ]
    told = []
    for seed, (host, dopant, optics) in enumerate(cases):
        recipe = replace(CLEAN, host=host, dopant=dopant, optics=optics, dose_e_per_angstrom2=dose, seed=seed)
        told.append(unknown(analyzer.analyze(make_frame(recipe).image, context_of(recipe))))
    share = float(np.mean(np.concatenate(told)))
    print(f"{dose:.0e}: {share:.4f} of {sum(map(len, told))} sites are unknown")
    assert share <= 0.005


def with_clusters(
    recipe: FrameRecipe, count: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A frame with clusters of carbon-like atoms between its columns, and where they are (pixels)."""
    rng = np.random.default_rng(seed)
    px = recipe.pixel_size_angstrom
    clean = make_frame(replace(recipe, dose_e_per_angstrom2=1e8)).image / (1e8 * px**2)
    tables = response_tables(shipped_library(), ["Se"], recipe.optics)
    centres = rng.uniform(40, np.array(recipe.shape) - 40, (count, 2))
    atoms = (centres[:, None] + rng.normal(0, 1.2 / px, (count, 6, 2))).reshape(-1, 2)
    added = render_columns(recipe.shape, px, atoms, np.zeros(len(atoms), np.int64), tables)
    return count_electrons(clean + added, recipe.dose_e_per_angstrom2, px, rng), centres


@pytest.mark.parametrize(("dose", "least"), [(1e4, 0.6), (1e5, 0.9)])
def test_adsorbed_clusters_are_unknown(dose: float, least: float, analyzer: FrameAnalyzer) -> None:
    recipe = replace(CLEAN, dose_e_per_angstrom2=dose, seed=3)
    image, centres = with_clusters(recipe, 6, 3)
    result = analyzer.analyze(image, context_of(recipe))
    positions = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    distance, _ = cKDTree(centres).query(positions)
    covered = distance * recipe.pixel_size_angstrom < 1.3
    far = distance * recipe.pixel_size_angstrom > 9
    here = unknown(result)
    print(
        f"{dose:.0e}: {here[covered].mean():.2f} of the covered sites unknown, {here[far].mean():.4f} far away"
    )
    assert here[covered].mean() >= least
    assert here[far].mean() <= 0.01


def test_a_species_that_nobody_named_is_unknown_and_not_taken_for_another(analyzer: FrameAnalyzer) -> None:
    """Gold on tungsten sites while only vanadium is looked for."""
    recipe = replace(
        CLEAN, host="MoS2", dopant="Au", dose_e_per_angstrom2=1e5, prevalence={Role.DOPANT: 0.02}, seed=5
    )
    frame = make_frame(recipe)
    result = analyzer.analyze(frame.image, context_of(recipe, dopants=("V",)))
    positions = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    gold = frame.positions_px[frame.role == Role.DOPANT]
    distance, nearest = cKDTree(positions).query(gold)
    inside = (distance * recipe.pixel_size_angstrom < 0.8) & np.all((gold > 40) & (gold < 280), axis=1)
    told = unknown(result)[nearest[inside]]
    print(f"{told.mean():.2f} of {len(told)} gold atoms are unknown")
    assert told.mean() >= 0.9


@pytest.mark.parametrize(
    ("told", "true"),
    [("MoSe2", "WS2"), ("WS2", "MoS2"), ("WTe2", "MoSe2"), ("MoS2", "MoSe2"), ("WSe2", "NbSe2")],
)
def test_another_host_than_declared_is_refused(told: str, true: str, analyzer: FrameAnalyzer) -> None:
    for dose in (1e4, 1e5):
        for optics in (Optics(80.0, 30.0, 70.0, 200.0, 0.4), Optics(80.0, 30.0, 50.0, 120.0, 0.4)):
            recipe = replace(
                CLEAN, host=true, optics=optics, dose_e_per_angstrom2=dose, shape=(256, 256), seed=6
            )
            result = analyzer.analyze(make_frame(recipe).image, context_of(recipe, host=told))
            assert result.refusal is not None, (dose, optics)
            assert result.refusal.code in {"wrong_host", "calibration", "pixel_size_mismatch"}
            assert told in result.refusal.reason
