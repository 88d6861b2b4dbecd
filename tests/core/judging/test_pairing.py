"""Two detectors of one scan together: better than each alone, and no surer than they may be."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core import metrics
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.prevalence import Expected
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.judging.pairing import combine
from stemctx_core.results import FrameResult
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables
from tests.core.frames import _draw_candidates, _honeycomb

PREVALENCE = {
    Role.DOPANT: 0.03,
    Role.METAL_VACANCY: 0.01,
    Role.CHALCOGEN_VACANCY: 0.05,
    Role.CHALCOGEN_DIVACANCY: 0.01,
    Role.OXYGEN: 0.03,
}
HAADF, MAADF = (70.0, 200.0), (50.0, 120.0)
PIXEL, SIDE = 0.22, 288
Seen = list[tuple[NDArray[np.float32], ImagingContext]]


@lru_cache(maxsize=1)
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer(FrameAnalyzer.shipped().classifier, shipped_library())


def scan(
    host: str, dopant: str, dose: float, amplitude: float, seed: int
) -> tuple[Seen, NDArray[np.float64], NDArray[np.int64]]:
    """One scan on two detectors: the same columns, displaced and brightened alike, electrons counted apart."""
    rng = np.random.default_rng(seed)
    listed = classes.candidates(host, (dopant,))
    expected = Expected(tuple((role.value, rate) for role, rate in PREVALENCE.items()))
    size = SIDE * PIXEL
    lattice, sublattice = _honeycomb(materials.host(host).a_angstrom, 0.72 * size + 12)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    positions = lattice @ rotation.T + size / 2
    near = ((positions > -6) & (positions < size + 6)).all(axis=1)
    positions, sublattice = positions[near], sublattice[near]
    which = _draw_candidates(listed, sublattice, PREVALENCE, rng)
    moved = positions + rng.normal(0, 0.04, positions.shape)
    brightness = 1 + rng.normal(0, amplitude, len(positions))
    seen: Seen = []
    for inner, outer in (HAADF, MAADF):
        tables = response_tables(
            shipped_library(), [c.column for c in listed], Optics(80.0, 30.0, inner, outer, 0.4)
        )
        clean = render_columns((SIDE, SIDE), PIXEL, moved / PIXEL, which, tables, brightness)
        image = count_electrons(clean + 0.03 * tables[0, 0], dose, PIXEL, rng)
        told = [Known(v, Source.USER) for v in (80.0, 30.0, inner, outer, PIXEL)]
        seen.append((image, ImagingContext(host, (dopant,), *told, expected=expected)))
    return seen, positions / PIXEL, which


def judged(
    result: FrameResult, positions_px: NDArray[np.float64], which: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    assert result.refusal is None, result.refusal
    found = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    distance, nearest = cKDTree(found).query(positions_px)
    looked_at = np.array([not r or "apart" in r for r in result.reasons])[result.sites.reason]
    kept = (distance * PIXEL < 0.8) & looked_at[nearest]
    return result.sites.posterior[nearest[kept]], which[kept]


@pytest.mark.parametrize(
    ("dose", "amplitude", "gain"), [(5e3, 0.0, 0.0), (2e4, 0.06, -0.03), (1e5, 0.10, -0.05)]
)
def test_two_detectors_are_better_and_stay_calibrated(dose: float, amplitude: float, gain: float) -> None:
    told: dict[str, list[tuple[NDArray[np.float32], NDArray[np.int64]]]] = {
        "HAADF": [],
        "MAADF": [],
        "both": [],
    }
    materials_seen = [("WSe2", "V"), ("MoS2", "W"), ("WS2", "Mo"), ("MoSe2", "Nb")]
    for seed, (host, dopant) in enumerate(materials_seen):
        seen, positions, which = scan(host, dopant, dose, amplitude, seed)
        results = [analyzer().analyze(*one) for one in seen]
        results.append(analyzer().analyze_detectors(seen))
        for name, result in zip(told, results, strict=True):
            told[name].append(judged(result, positions, which))
    recall = {}
    for name, parts in told.items():
        posterior, label = (np.concatenate(x) for x in zip(*parts, strict=True))
        defect = np.isin(label, [1, 2, 4, 5, 6])
        recall[name] = float(np.mean(posterior.argmax(axis=1)[defect] == label[defect]))
        error = metrics.expected_calibration_error(posterior, label)
        excess = metrics.negative_log_likelihood(posterior, label) - metrics.mean_entropy_nats(posterior)
        print(
            f"{dose:.0e} {amplitude} {name}: defects {recall[name]:.3f} ECE {error:.4f} NLL - H {excess:+.4f}"
        )
        if name == "both":
            assert error < 0.01
            assert excess < 0.01
    assert recall["both"] >= max(recall["HAADF"], recall["MAADF"]) + gain


def test_a_detector_given_twice_counts_once() -> None:
    seen, *_ = scan("WSe2", "V", 2e4, 0.03, 7)
    evidence = analyzer().evidence(*seen[0])
    twice = combine([evidence, evidence], seen[0][1].candidates)
    judged_sites = evidence.obstacle == 0
    alone = evidence.log_likelihood[judged_sites]
    assert np.allclose(twice.log_likelihood[judged_sites], alone, rtol=1e-4, atol=1e-3)
    assert combine([evidence], seen[0][1].candidates) is evidence


def test_the_order_of_the_detectors_does_not_matter_and_the_clearer_one_finds_the_sites() -> None:
    seen, *_ = scan("MoS2", "W", 2e4, 0.0, 8)
    one, other = (analyzer().analyze_detectors(s) for s in (seen, seen[::-1]))
    assert one.context == other.context == seen[1][1]
    assert np.array_equal(one.sites.posterior, other.sites.posterior)


def test_images_that_are_not_of_one_scan_are_refused() -> None:
    (first, context), (second, other) = scan("WSe2", "V", 2e4, 0.0, 9)[0]
    for wrong in ((second[:100], other), (second, replace_host(other))):
        result = analyzer().analyze_detectors([(first, context), wrong])
        assert result.refusal is not None
        assert result.refusal.code == "different_scans"


def replace_host(context: ImagingContext) -> ImagingContext:
    return msgspec.structs.replace(context, host="MoSe2")
