"""The planned dose against frames: what the planner promises, the classifier must keep."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from typer.testing import CliRunner

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.planning.commands import register
from stemctx_core.planning.conditions import Condition, Question, advice, best_condition, conditions
from stemctx_core.planning.pairs import DoseEstimate, pair
from stemctx_core.planning.planner import dose_to_tell, dose_to_tell_all, scene_of
from stemctx_core.scene import Nuisance
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables

LIBRARY = shipped_library()


def _context(host: str = "WSe2", dopant: str = "V", kv: float = 80.0, inner: float = 70.0) -> ImagingContext:
    def told(value: float) -> Known:
        return Known(value, Source.USER)

    return ImagingContext(host, (dopant,), told(kv), told(30.0), told(inner), told(200.0))


def test_a_lower_error_rate_and_a_smaller_difference_need_more_dose() -> None:
    doses = [dose_to_tell(LIBRARY, _context(), "V_W", "vac_W", rate) for rate in (0.1, 0.01, 0.001)]
    assert all(d.possible for d in doses)
    assert doses[0].dose_e_per_angstrom2 < doses[1].dose_e_per_angstrom2 < doses[2].dose_e_per_angstrom2
    host = dose_to_tell(LIBRARY, _context(), "V_W", "W", 0.01)
    assert host.dose_e_per_angstrom2 < doses[1].dose_e_per_angstrom2
    assert dose_to_tell(LIBRARY, _context(), "W", "V_W", 0.01) == DoseEstimate(
        host.dose_e_per_angstrom2, host.separation, host.reason.replace("V_W and W", "W and V_W")
    )


def test_the_dose_is_the_least_one() -> None:
    both = pair(LIBRARY, scene_of(_context()), "V_W", "W")
    dose = both.dose_to_tell(0.01).dose_e_per_angstrom2
    assert both.separation(dose) == pytest.approx(2 * 2.3263, rel=1e-3)  # 2 × the 99 % quantile
    assert both.separation(0.98 * dose) < 2 * 2.3263


def test_a_wider_source_needs_more_dose() -> None:
    sharp, blurred = (
        dose_to_tell(LIBRARY, _context(), "V_W", "vac_W", 0.01, sigma_angstrom=s) for s in (0.35, 0.65)
    )
    assert blurred.dose_e_per_angstrom2 > 1.2 * sharp.dose_e_per_angstrom2


def test_species_that_scatter_alike_are_never_told_apart_and_it_is_said_why() -> None:
    never = dose_to_tell(LIBRARY, _context("WSe2", "Re"), "Re_W", "W", 0.01)
    assert math.isinf(never.dose_e_per_angstrom2)
    assert not never.possible
    assert "the error of the simulated responses" in never.reason
    assert never.separation < 4.6
    exact = scene_of(_context("WSe2", "Re"), nuisance=Nuisance(response=0.0, gain=0.0, sigma_angstrom=0.0))
    assert dose_to_tell(LIBRARY, exact, "Re_W", "W", 0.01).possible


def test_the_lattice_tells_sublattices_apart() -> None:
    estimate = dose_to_tell(LIBRARY, _context(), "V_W", "vac_Se", 0.01)
    assert estimate.possible
    assert "different sublattices" in estimate.reason


def test_a_decision_that_is_nearly_made_needs_less() -> None:
    both = pair(LIBRARY, scene_of(_context()), "V_W", "vac_W")
    doses = [both.dose_to_decide(odds, sure=0.99, excluded=0.01).dose_e_per_angstrom2 for odds in (0.0, 3.0)]
    # What excludes it is then farther away, so that a nearly sure site still needs the more careful look.
    assert doses[1] > doses[0]
    careful = both.dose_to_decide(0.0, sure=0.999, excluded=0.001).dose_e_per_angstrom2
    assert careful > doses[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error_rate": 0.0}, "between 0 and 0.5"),
        ({"error_rate": 0.5}, "between 0 and 0.5"),
        ({"species_a": "Mo_W"}, "cannot occur here. The candidates are W, V_W"),
        ({"species_b": "V_W"}, "told from itself"),
    ],
)
def test_what_cannot_be_planned_is_said(change: dict[str, object], words: str) -> None:
    values = {"species_a": "V_W", "species_b": "W", "error_rate": 0.01, **change}
    with pytest.raises(InputError, match=words):
        dose_to_tell(LIBRARY, _context(), **values)  # type: ignore[arg-type]


def test_thresholds_that_cross_are_said() -> None:
    both = pair(LIBRARY, scene_of(_context()), "V_W", "W")
    with pytest.raises(InputError, match="0 < excluded < sure < 1"):
        both.dose_to_decide(0.0, sure=0.1, excluded=0.9)
    with pytest.raises(InputError, match=r"between 0 and 0\.5"):
        both.dose_to_decide(0.0, error_rate=0.7)


def test_a_context_that_is_not_known_or_not_held_is_said() -> None:
    with pytest.raises(LibraryError, match="380 kV"):
        dose_to_tell(LIBRARY, _context(kv=380.0), "V_W", "W")
    incomplete = ImagingContext(
        "WSe2", ("V",), Missing("not read"), *(Known(v, Source.USER) for v in (30.0, 70.0, 200.0))
    )
    with pytest.raises(InputError, match="not read"):
        dose_to_tell(LIBRARY, incomplete, "V_W", "W")


def test_a_missing_convergence_angle_costs_hardly_any_dose() -> None:
    whole = _context()
    partly = msgspec.structs.replace(whole, convergence_semi_angle_mrad=Missing("not read"))
    doses = [dose_to_tell(LIBRARY, c, "V_W", "W", 0.01).dose_e_per_angstrom2 for c in (whole, partly)]
    assert doses[1] == pytest.approx(doses[0], rel=0.2)


def test_the_best_condition_is_the_one_of_least_dose() -> None:
    energies, detectors = (60.0, 80.0), ((70.0, 200.0), (40.0, 200.0), (10.0, 20.0))
    question = Question("WSe2", ("V",), ("V_W", "vac_W"))
    ranked = conditions(LIBRARY, question, energies, detectors)
    assert len(ranked) == 4  # the third detector cannot be added up from columns
    doses = [c.estimate.dose_e_per_angstrom2 for c in ranked]
    assert doses == sorted(doses)
    best = best_condition(LIBRARY, question, energies, detectors)
    assert isinstance(best, Condition)
    assert best == ranked[0]
    direct = dose_to_tell(
        LIBRARY, _context(kv=best.high_tension_kv, inner=best.inner_mrad), "V_W", "vac_W", 0.01
    )
    assert best.estimate.dose_e_per_angstrom2 == direct.dose_e_per_angstrom2


def test_no_condition_at_all_is_said() -> None:
    with pytest.raises(InputError, match=r"none of these energies and detectors: .*inner angle at least"):
        best_condition(LIBRARY, Question("WSe2", ("V",), ("V_W", "W")), detectors=((10.0, 20.0),))


def test_a_set_needs_the_dose_of_its_hardest_pair() -> None:
    species = ("vac_Se", "O_Se", "Se2")
    together = dose_to_tell_all(LIBRARY, _context(), species, 0.05)
    each = [dose_to_tell(LIBRARY, _context(), a, b, 0.05) for a, b in itertools.combinations(species, 2)]
    assert together.dose_e_per_angstrom2 == max(e.dose_e_per_angstrom2 for e in each)
    assert together in each
    with pytest.raises(InputError, match="at least two"):
        dose_to_tell_all(LIBRARY, _context(), ("V_W",))


def test_advice_names_the_factor_and_a_better_condition() -> None:
    question = Question("WSe2", (), ("vac_Se", "O_Se"), 0.05)
    ranked = conditions(LIBRARY, question, (80.0,), ((70.0, 200.0), (50.0, 120.0), (90.0, 200.0)))
    worst, best = ranked[-1], ranked[0]
    dose = worst.estimate.dose_e_per_angstrom2 / 5
    assert (
        advice(question.species, worst, 6 * dose, ranked) == "{vac_Se, O_Se}: told apart with the dose in use."
    )
    words = advice(question.species, worst, dose, ranked)
    assert "5 times the dose" in words
    assert f"{best.inner_mrad:g}-{best.outer_mrad:g} mrad at 80 kV" in words
    assert "no other condition" in advice(question.species, best, dose / 100, ranked)


def test_the_command_ranks_conditions_and_says_what_is_wrong() -> None:
    app = typer.Typer()
    register(app)
    asked = ["--host", "WSe2", "vac_Se", "O_Se", "--high-tension-kv", "80", "--detector-mrad", "70-200"]
    told = CliRunner().invoke(app, [*asked, "--dose", "1e4", "--rows", "3"])
    assert told.exit_code == 0, told.output
    assert "vac_Se, O_Se in WSe2" in told.output
    assert "times the dose" in told.output
    for wrong, words in ((["--detector-mrad", "70"], "is no detector"), (["--dose", "-1"], "above 0")):
        refused = CliRunner().invoke(app, [*asked, *wrong])
        assert isinstance(refused.exception, InputError)
        assert words in str(refused.exception)


@pytest.mark.parametrize(("rate", "rival"), [(0.1, "W"), (0.02, "W"), (0.05, "vac_W")])
def test_the_classifier_errs_as_often_as_planned(rate: float, rival: str) -> None:
    """Frames at the planned dose: the two are confused about as often as asked, equally frequent as they are."""
    context = _context()
    dose = dose_to_tell(LIBRARY, context, "V_W", rival, rate).dose_e_per_angstrom2
    wrong = total = 0
    for seed in range(6):
        log_ratio, is_first = _log_ratio(context, "V_W", rival, dose, seed)
        wrong += int(((log_ratio > 0) != is_first).sum())
        total += len(log_ratio)
    assert total > 300
    allowed = 3 * math.sqrt(rate * total)
    assert wrong < 1.6 * rate * total + allowed
    assert wrong > 0.3 * rate * total - allowed


def _log_ratio(
    context: ImagingContext, first: str, second: str, dose: float, seed: int
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Log-likelihood ratio at sites of a frame that holds both species among the host's own columns."""
    analyzer = FrameAnalyzer.shipped()
    host, candidates = materials.host(context.host), context.candidates
    names = [c.species for c in candidates]
    rng = np.random.default_rng(seed)
    pixel, side = 0.25, 512
    a = host.a_angstrom / pixel
    basis = a * np.array([[0.12, 0.993], [0.92, 0.392]])
    i, j = np.meshgrid(np.arange(-90, 90), np.arange(-90, 90), indexing="ij")
    cells = np.stack([i.ravel(), j.ravel()], axis=1)
    metal = cells @ basis + side / 2
    chalcogen = metal + basis.sum(axis=0) / 3
    kind = np.full(len(cells), names.index(host.metal))
    # Far from each other, so that none is another's neighbour.
    chosen = (cells % 4 == 0).all(axis=1)
    kind[chosen] = rng.choice([names.index(first), names.index(second)], chosen.sum())
    positions = np.concatenate([metal, chalcogen])
    # Vacancies far from the chosen sites: the ratio alone does not tell these sublattices apart, and without them
    # the dark columns of the metal would be taken for chalcogens.
    pairs = np.full(len(cells), names.index(f"{host.chalcogen}2"))
    pairs[(cells % 4 == 2).all(axis=1)] = names.index(f"vac_{host.chalcogen}")
    index = np.concatenate([kind, pairs])
    tables = response_tables(LIBRARY, [c.column for c in candidates], Optics(80.0, 30.0, 70.0, 200.0, 0.45))
    near = ((positions > -30) & (positions < side + 30)).all(axis=1) & (tables[index].max(axis=1) > 0)
    clean = render_columns((side, side), pixel, positions[near], index[near], tables)
    image = count_electrons(clean + 0.02 * tables.max(), dose, pixel, rng)
    evidence = analyzer.evidence(image, context)
    metal_sites = np.flatnonzero((evidence.obstacle == 0) & (evidence.sites.sublattice == 0))
    distance, nearest = cKDTree(metal).query(evidence.sites.positions_px[metal_sites])
    used = chosen[nearest] & (distance * pixel < 0.8)
    likelihood = evidence.log_likelihood[metal_sites[used]]
    ratio = likelihood[:, names.index(first)] - likelihood[:, names.index(second)]
    return ratio, kind[nearest[used]] == names.index(first)
