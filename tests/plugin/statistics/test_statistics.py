"""What a session has shown so far, against points whose distances are known."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from nionswift_plugin.stemctx.statistics.counts import (
    MOST_ROWS,
    SessionStatistics,
    flag_distances,
    judged_sites,
)
from nionswift_plugin.stemctx.statistics.distances import BIN_NM, MOST_FIELDS, Distances, distances
from stemctx_core.results import Decision, Refusal
from tests.plugin.results import SHAPE, judged

WINDOW = ((0.0, 12.0), (1.0, 21.0))


def random_points(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    (y0, y1), (x0, x1) = WINDOW
    return rng.uniform((y0, x0), (y1, x1), (count, 2))


def added(count: int, fields: int) -> Distances:
    rng = np.random.default_rng(0)
    return sum((distances(random_points(rng, count), WINDOW) for _ in range(fields)), Distances.none())


def test_pairs_are_those_of_a_brute_force() -> None:
    points = random_points(np.random.default_rng(1), 80)
    found = distances(points, WINDOW)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)[~np.eye(80, dtype=bool)]
    counts, _ = np.histogram(apart, np.arange(len(found.pairs) + 1) * BIN_NM)
    assert np.array_equal(found.pairs, counts)
    assert found.points == 80


def test_points_at_random_have_a_radial_distribution_of_one_up_to_the_border() -> None:
    """Without a correction it would fall to 0.75 at the largest distance of this window."""
    found = added(60, 400)
    assert np.allclose(found.radial[20:], 1.0, atol=0.06)
    assert found.radial[20:].mean() == pytest.approx(1.0, abs=0.005)
    assert found.radial[-20:].mean() == pytest.approx(1.0, abs=0.01)


def test_points_at_random_have_the_nearest_neighbours_of_a_poisson_process() -> None:
    found = added(60, 400)
    density = 60 / (12.0 * 20.0)
    expected = 1 - np.exp(-np.pi * density * (found.distance_nm + BIN_NM / 2) ** 2)
    assert np.abs(np.cumsum(found.nearest_per_nm) * BIN_NM - expected).max() < 0.02
    assert found.mean_nearest_nm == pytest.approx(0.5 / math.sqrt(density), rel=0.02)


def test_a_triangular_lattice_has_six_neighbours_at_its_constant() -> None:
    a = 1.013
    i, j = np.mgrid[-40:40, -40:40]
    lattice = np.stack([a * np.sqrt(3) / 2 * j.ravel(), a * (i + j / 2).ravel()], axis=1) + [6.0, 11.0]
    inside = lattice[((lattice >= (0, 1)) & (lattice <= (12, 21))).all(axis=1)]
    found = distances(inside, WINDOW)
    assert found.mean_nearest_nm == pytest.approx(a, abs=BIN_NM)
    density = len(inside) / 240.0
    shell = np.abs(found.distance_nm - a) < 0.1
    ring = 2 * np.pi * found.distance_nm * BIN_NM
    assert (density * found.radial * ring)[shell].sum() == pytest.approx(6.0, rel=0.05)
    assert np.nansum(found.pairs[found.distance_nm < 0.9 * a]) == 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_points_have_no_distances(count: int) -> None:
    found = distances(np.zeros((count, 2)) + 5.0, WINDOW)
    assert not found.pairs.any()
    assert np.isnan(found.radial).all()
    assert not found.nearest_per_nm.any()
    assert found.mean_nearest_nm is None


def test_densities_are_flags_over_the_area_of_the_judged_cells() -> None:
    result = judged()
    session = SessionStatistics()
    row = session.add(result, "a", latency_ms=12.0, passes=3)
    assert row is not None
    height_nm, width_nm = (n * 5.0 / 256 for n in SHAPE)
    judged_share = judged_sites(result).mean()
    assert row.area_cm2 * 1e14 == pytest.approx(height_nm * width_nm * judged_share, rel=0.05)
    species, count = next(iter(result.flag_counts().items()))
    assert row.density_per_cm2(species) == pytest.approx(count / row.area_cm2)
    assert 1e12 < row.density_per_cm2(species) < 1e15
    assert row.dose_so_far_e_per_angstrom2 == pytest.approx(3 * row.dose_e_per_angstrom2)
    assert session.distances.points == len(result.where(Decision.FLAG))


def test_frames_of_one_field_show_the_same_defects_once() -> None:
    session = SessionStatistics()
    for field in ("a", "a", "b"):
        session.add(judged(), field)
    assert session.frames == 3
    assert session.distances.points == 2 * flag_distances(judged()).points


def test_a_frame_that_was_refused_or_is_not_whole_is_passed_over() -> None:
    session = SessionStatistics()
    part = replace(judged(), frame=msgspec.structs.replace(judged().frame, valid_rows=100))
    refused = replace(judged(), refusal=Refusal("no_lattice", "none", "look"))
    assert session.add(part, "a") is None
    assert session.add(refused, "a") is None
    assert session.rows == ()


def test_memory_is_bounded_and_the_session_is_covered() -> None:
    session = SessionStatistics(most_rows=16)
    for number in range(500):
        session.add(judged(), number, latency_ms=float(number), passes=1)
    assert len(session.rows) <= 16
    assert sum(r.frames for r in session.rows) == 500
    mean = sum(r.latency_ms * r.frames for r in session.rows) / 500
    assert mean == pytest.approx(np.arange(500).mean())
    assert session.rows[0].latency_ms < 64
    assert session.rows[-1].latency_ms > 430
    assert len(session._fields) <= MOST_FIELDS
    assert SessionStatistics()._most_rows == MOST_ROWS


def test_the_csv_has_a_line_for_each_row(tmp_path: Path) -> None:
    session = SessionStatistics()
    session.add(judged(), "a", latency_ms=10.0)
    session.add(judged(), "a")
    session.write_csv(tmp_path / "session.csv")
    with (tmp_path / "session.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2
    species, count = next(iter(judged().flag_counts().items()))
    assert float(lines[0][f"count_{species}"]) == count
    assert float(lines[0]["latency_ms"]) == 10.0
    assert lines[1]["latency_ms"] == "nan"
    assert list(tmp_path.iterdir()) == [tmp_path / "session.csv"]
