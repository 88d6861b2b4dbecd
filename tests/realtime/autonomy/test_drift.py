"""Registration between judged frames, and the drift that it tells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.autonomy.drift import UNKNOWN_NM_PER_S, DriftModel
from realtime.autonomy.registration import Registration, SeenSites, register
from stemctx_core.chemistry.classes import Role, candidates
from stemctx_core.judging.verdict import site_prior

A_NM = 0.3282
LISTED = candidates("WSe2", ("V",))
BASIS = A_NM * np.array([[0.1197, 0.9928], [0.9196, 0.3929]])
DEFECTS = {Role.DOPANT: 0.02, Role.METAL_VACANCY: 0.005, Role.CHALCOGEN_VACANCY: 0.03}


def crystal(half_nm: float, centre_nm: tuple[float, float], rate: float = 1.0, seed: int = 0) -> SeenSites:
    """Sites of an endless crystal, each judged surely; the same columns wherever it is looked at."""
    n = np.arange(-40, 41)
    cells = np.stack(np.meshgrid(n, n, indexing="ij"), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    points, sublattices, what = [], [], []
    for sublattice, shift in ((0, np.zeros(2)), (1, BASIS.sum(axis=0) / 3)):
        points.append(cells @ BASIS + shift)
        sublattices.append(np.full(len(cells), sublattice, np.int8))
        host = next(
            k for k, c in enumerate(LISTED) if not c.is_defect and c.sublattice.value == "MX"[sublattice]
        )
        chosen = np.full(len(cells), host)
        for k, c in enumerate(LISTED):
            if c.is_defect and c.sublattice is LISTED[host].sublattice:
                chosen[rng.random(len(cells)) < rate * DEFECTS.get(c.role, 0.0)] = k
        what.append(chosen)
    positions, sublattice_of = np.concatenate(points), np.concatenate(sublattices)
    prior = site_prior(LISTED, sublattice_of)
    posterior = 0.97 * np.eye(len(LISTED))[np.concatenate(what)] + 0.03 * prior
    sites = SeenSites(positions, sublattice_of, posterior, prior)
    return sites.chosen((np.abs(positions - centre_nm) < half_nm).all(axis=1))


def moved(sites: SeenSites, by_nm: tuple[float, float], jitter_nm: float = 0.01, seed: int = 1) -> SeenSites:
    noise: NDArray[np.float64] = np.random.default_rng(seed).normal(0, jitter_nm, sites.positions_nm.shape)
    return SeenSites(sites.positions_nm + by_nm + noise, sites.sublattice, sites.posterior, sites.prior)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("by_nm", [(0.02, -0.01), (0.35, 0.2), (-0.9, 1.1)])
def test_defects_tell_lattice_vectors_apart(seed: int, by_nm: tuple[float, float]) -> None:
    before = crystal(3.0, (0.0, 0.0), seed=seed)
    after = moved(crystal(2.0, (0.3, -0.2), seed=seed), by_nm)
    found = register(before, after, (0.0, 0.0), 0.6)
    assert found.sure, found.reason
    assert found.shift_nm == pytest.approx(by_nm, abs=0.01)
    assert found.error_nm < 0.005
    assert found.sites > 100


def test_a_perfect_lattice_is_only_as_sure_as_the_drift() -> None:
    before = crystal(3.0, (0.0, 0.0), rate=0.0)
    after = moved(before, (0.05, 0.02))
    tight = register(before, after, (0.04, 0.03), 0.03)
    assert tight.sure, tight.reason
    assert tight.shift_nm == pytest.approx((0.05, 0.02), abs=0.005)
    loose = register(before, after, (0.04, 0.03), 0.3)
    assert not loose.sure
    assert "cannot be told apart" in loose.reason


def test_other_places_are_not_taken_for_the_same() -> None:
    wrong = 0
    for seed in range(20):
        before = crystal(2.0, (0.0, 0.0), seed=seed)
        after = crystal(2.0, (0.0, 0.0), seed=100 + seed)
        found = register(before, after, (0.0, 0.0), 0.5)
        wrong += found.sure
    assert wrong == 0


def test_beyond_the_range_looked_at_is_not_sure() -> None:
    before = crystal(3.0, (0.0, 0.0))
    after = moved(crystal(3.0, (0.0, 0.0)), (1.5, 0.0))
    found = register(before, after, (0.0, 0.0), 0.1)
    assert not found.sure


def test_few_sites_are_told() -> None:
    before = crystal(3.0, (0.0, 0.0))
    for after in (before.chosen(np.zeros(0, np.intp)), crystal(0.3, (0.0, 0.0)), crystal(2.0, (9.0, 9.0))):
        found = register(before, after, (0.0, 0.0), 0.1)
        assert not found.sure
        assert "sites" in found.reason


def test_undecided_sites_say_nothing() -> None:
    sites = crystal(3.0, (0.0, 0.0))
    blind = SeenSites(sites.positions_nm, sites.sublattice, sites.prior, sites.prior)
    assert not register(blind, moved(blind, (0.4, 0.0)), (0.0, 0.0), 0.4).sure


def test_the_drift_is_learned_from_registrations() -> None:
    drift = DriftModel()
    second = int(1e9)
    assert drift.velocity_nm_per_s == (0.0, 0.0)
    assert drift.predict((1.0, 2.0), 0, 10 * second) == (1.0, 2.0)
    assert drift.error_nm(0, 10 * second) == pytest.approx(10 * UNKNOWN_NM_PER_S)
    drift.add((0.2, -0.1), 0, 10 * second, 0.005)
    assert drift.velocity_nm_per_s == pytest.approx((0.02, -0.01))
    assert drift.predict((1.0, 2.0), 0, 20 * second) == pytest.approx((1.4, 1.8))
    # Something seen between the two, and the way back.
    assert drift.predict((0.0, 0.0), 5 * second, 10 * second) == pytest.approx((0.1, -0.05))
    assert drift.predict((0.0, 0.0), 10 * second, 5 * second) == pytest.approx((-0.1, 0.05))
    at_the_time, later = drift.error_nm(0, 10 * second), drift.error_nm(0, 40 * second)
    assert at_the_time < 0.02
    assert 0.1 < later < 0.5
    drift.add((0.4, -0.2), 10 * second, 30 * second, 0.005)
    assert drift.error_nm(0, 31 * second) < 0.03
    # A registration told backwards is the same.
    drift.add((-0.2, 0.1), 40 * second, 30 * second, 0.005)
    assert drift.moved(0, 40 * second) == pytest.approx((0.8, -0.4))


def test_a_shift_on_purpose_makes_the_old_less_certain() -> None:
    drift = DriftModel()
    second = int(1e9)
    drift.add((0.2, 0.0), 0, 10 * second, 0.005)
    before = drift.error_nm(9 * second, 12 * second)
    drift.disturb(11 * second, 0.5)
    assert drift.error_nm(9 * second, 12 * second) == pytest.approx(math.hypot(before, 0.5), rel=0.3)
    # The drift itself goes on as it did.
    assert drift.error_nm(11 * second, 12 * second) < 0.1
    assert drift.velocity_nm_per_s == pytest.approx((0.02, 0.0))
    drift.add((0.7, 0.0), 10 * second, 15 * second, 0.005)
    assert drift.velocity_nm_per_s == pytest.approx((0.02, 0.0))
    drift.add((0.05, 0.0), 15 * second, 20 * second, 0.005)
    assert drift.velocity_nm_per_s == pytest.approx((0.01, 0.0))


def test_registration_says_when_it_may_be_acted_on() -> None:
    assert Registration((0.0, 0.0), 1.0, 50, 0.01).sure
    assert not Registration((0.0, 0.0), 0.4, 50, 0.01, "why").sure
