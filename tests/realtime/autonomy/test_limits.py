"""Limits hold on every way to pass them, and name themselves."""

from __future__ import annotations

import math
import threading
import time

import msgspec
import pytest

from realtime.autonomy.limits import Budget, LimitReached, Limits, Spent, Stop, Stopped
from realtime.autonomy.microscope import ScanRequest
from stemctx_core.errors import InputError

FIELD = ScanRequest((0.0, 0.0), 4.0, (64, 64), 1e-6)


def _at(y: float, x: float, **changes: object) -> ScanRequest:
    return msgspec.structs.replace(FIELD, centre_nm=(y, x), **changes)


def _name(budget: Budget, request: ScanRequest, dose: float) -> str:
    with pytest.raises(LimitReached) as caught:
        budget.may(request, dose)
    assert caught.value.name in str(caught.value)
    return caught.value.name


def test_without_limits_everything_is_counted() -> None:
    budget = Budget(clock=lambda: 0)
    budget.may(FIELD, 1e9)
    for _ in range(3):
        budget.spend(FIELD, 100.0)
    assert budget.spent == Spent(3 * 100.0 * 40 * 40, 3, 0.0, 300.0)


def test_fault_65_dose_per_site_adds_up_over_overlapping_fields() -> None:
    budget = Budget(Limits(dose_per_site_e_per_angstrom2=1000.0))
    budget.spend(FIELD, 600.0)
    budget.may(FIELD, 400.0)
    assert _name(budget, FIELD, 401.0) == "dose_per_site_e_per_angstrom2"
    # A corner is enough.
    assert _name(budget, _at(3.0, 3.0), 500.0) == "dose_per_site_e_per_angstrom2"
    # Side by side there is no overlap.
    budget.may(_at(0.0, 4.0), 1000.0)
    budget.may(_at(4.0, 0.0), 1000.0)
    # A turned field reaches less far along the diagonal.
    budget.may(_at(3.6, 3.6, rotation_rad=math.pi / 4), 1000.0)
    assert _name(budget, _at(2.0, 4.0, rotation_rad=math.pi / 4), 1000.0) == "dose_per_site_e_per_angstrom2"


def test_fault_65_small_fields_and_a_parked_beam_count_for_their_place() -> None:
    budget = Budget(Limits(dose_per_site_e_per_angstrom2=1000.0))
    point = ScanRequest((0.1, 0.1), 0.05, (4, 4), 1e-3)
    budget.spend(point, 900.0)
    assert budget.dose_at((0.1, 0.1)) == 900.0
    assert budget.dose_at((0.1, 0.6)) == 0.0
    assert budget.dose_at((-500.0, 0.6)) == 0.0
    assert _name(budget, FIELD, 101.0) == "dose_per_site_e_per_angstrom2"
    assert budget.spent.max_dose_per_site == 900.0
    assert budget.spent.electrons == pytest.approx(900.0 * 0.25)


def test_fault_65_the_caps_of_a_session_hold() -> None:
    electrons = 100.0 * 1600
    budget = Budget(Limits(dose_per_session_electrons=2.5 * electrons, acquisitions=3))
    for k in range(2):
        budget.may(_at(0.0, 10.0 * k), 100.0)
        budget.spend(_at(0.0, 10.0 * k), 100.0)
    assert _name(budget, _at(50.0, 0.0), 100.0) == "dose_per_session_electrons"
    budget.spend(_at(50.0, 0.0), 10.0)
    assert _name(budget, _at(90.0, 0.0), 1.0) == "acquisitions"


def test_time_counts_the_exposure_that_is_asked_for() -> None:
    now = 0
    budget = Budget(Limits(seconds=10.0), clock=lambda: now)
    second_long = ScanRequest((0.0, 0.0), 4.0, (100, 100), 1e-4)
    now = int(8.9e9)
    budget.may(second_long, 1.0)
    now = int(9.1e9)
    assert _name(budget, second_long, 1.0) == "seconds"
    assert budget.spent.seconds == pytest.approx(9.1)


def test_fault_64_a_field_beyond_the_limit_is_not_scanned() -> None:
    budget = Budget(Limits(field_nm=20.0))
    budget.may(_at(20.0, -20.0), 1.0)
    assert _name(budget, _at(0.0, -20.1), 1.0) == "field_nm"


@pytest.mark.parametrize("dose", [math.nan, math.inf, -1.0])
def test_what_would_slip_through_a_comparison_is_told(dose: float) -> None:
    budget = Budget(Limits(dose_per_site_e_per_angstrom2=10.0))
    with pytest.raises(InputError, match="cannot be"):
        budget.may(FIELD, dose)
    with pytest.raises(InputError, match="cannot be"):
        budget.spend(FIELD, dose)
    with pytest.raises(InputError, match="cannot be"):
        budget.may(_at(math.nan, 0.0), 1.0)
    with pytest.raises(InputError, match="limit acquisitions"):
        Budget(Limits(acquisitions=-1))


def test_the_budget_counts_on_many_threads() -> None:
    budget = Budget()
    threads = [threading.Thread(target=lambda: [budget.spend(FIELD, 1.0) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent.acquisitions == 200
    assert budget.spent.max_dose_per_site == 200.0


def test_a_stop_acts_on_the_thread_that_stops_and_ends_waiting() -> None:
    acted: list[str] = []
    stop = Stop(lambda: acted.append(threading.current_thread().name))
    stop.wait(0.01)
    stop.raise_if_set()
    timer = threading.Timer(0.1, stop.set)
    timer.name = "stopping"
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        stop.wait(300.0)
    assert time.monotonic() - began < 100.0
    timer.join()
    assert acted == ["stopping"]
    assert stop.is_set()
    with pytest.raises(Stopped):
        stop.raise_if_set()


def test_dose_is_counted_on_the_specimen() -> None:
    now, velocity = 0, 0.0
    budget = Budget(
        Limits(dose_per_site_e_per_angstrom2=1000.0), lambda: now, lambda ns: (velocity * ns * 1e-9, 0.0)
    )
    budget.spend(FIELD, 1000.0)
    now = int(100e9)
    assert _name(budget, FIELD, 1.0) == "dose_per_site_e_per_angstrom2"
    velocity = 0.1  # now it is known: the specimen went 10 nm
    budget.relay()
    budget.may(FIELD, 1000.0)
    assert _name(budget, _at(10.0, 0.0), 1.0) == "dose_per_site_e_per_angstrom2"
    assert budget.dose_at((10.0, 0.0)) == 1000.0
    assert budget.spent.acquisitions == 1
