"""Policies against specimens of which every site is known."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from realtime.autonomy.limits import Limits, Stopped
from realtime.autonomy.microscope import Microscope
from realtime.autonomy.policies import (
    Area,
    DosePlanner,
    FieldScan,
    Revisit,
    confirm,
    follow,
    survey_grid,
    until_precise,
    watch,
)
from realtime.autonomy.policies.area import BORDER_NM
from realtime.autonomy.policies.dispatch import plain, run_policy
from realtime.autonomy.policies.sites import Finding, fraction, together
from realtime.autonomy.policies.steps import pause
from realtime.autonomy.policies.survey_file import parse_survey
from realtime.autonomy.record.recorder import Recorder
from realtime.autonomy.session import Session
from realtime.autonomy.views import SessionEvent
from sim.specimen import Specimen
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError
from tests.realtime.rendered import ChangingSpecimen, RenderedMicroscope

SURE_SCAN = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=6.0, pixels=240)
LOW_SCAN = FieldScan(dose_e_per_angstrom2=1500, field_of_view_nm=6.0, pixels=240)
#: What a selenium column may have become; which of the two it takes ten times the dose to say.
POORER = {"vac_Se", "O_Se"}
AREA = Area(size_nm=(9.0, 9.0), centre_nm=(1.0, -2.0))


@pytest.fixture(scope="module")
def judge() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def _session(microscope: RenderedMicroscope, judge: FrameAnalyzer, **options: Any) -> Session:
    return Session(microscope, judge, clock=microscope.clock, **options)


class Witness:
    """Where findings really lie on the specimen."""

    def __init__(self, microscope: RenderedMicroscope, session: Session) -> None:
        self.microscope = microscope
        self.scan_ids: dict[str, str] = {}
        self.decisions: list[str] = []
        session.events.listen(self._hear)

    def _hear(self, event: SessionEvent) -> None:
        if event.view is not None:
            self.scan_ids[event.view.key] = event.view.frame.frame.scan_id
        if event.kind == "decision":
            self.decisions.append(event.text)

    def species(self, found: Finding) -> tuple[tuple[int, ...], str]:
        """Cell and species of the site that was found."""
        geometry = self.microscope.geometries[self.scan_ids[found.view]]
        (place,) = geometry.to_specimen_nm(np.array([[found.y_px, found.x_px]]))
        sites = self.microscope.specimen.columns_in(*(place - 1), *(place + 1))
        distance, site = cKDTree(sites.positions_nm).query(place)
        assert distance < 0.08
        return (*map(int, sites.lattice_index[site]), int(sites.sublattice[site])), str(sites.species[site])


def _dopants(specimen: Specimen, area: Area, inset_nm: float = 0.1) -> set[tuple[int, ...]]:
    (y, x), (h, w) = area.centre_nm, area.size_nm
    sites = specimen.columns_in(
        y - h / 2 + inset_nm, x - w / 2 + inset_nm, y + h / 2 - inset_nm, x + w / 2 - inset_nm
    )
    rows = np.flatnonzero(sites.role == Role.DOPANT.value)
    return {(*map(int, sites.lattice_index[i]), 0) for i in rows}


# Areas and fields


@pytest.mark.parametrize("size", [(3.0, 3.0), (9.0, 9.0), (4.9, 4.9), (17.3, 6.1)])
def test_every_point_of_an_area_is_seen_with_its_whole_patch(size: tuple[float, float]) -> None:
    area = Area(size_nm=size, centre_nm=(2.0, -5.0))
    centres = np.array(area.centres(6.0))
    y, x = (np.linspace(c - s / 2, c + s / 2, 41) for c, s in zip(area.centre_nm, area.size_nm, strict=True))
    points = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.abs(points[:, None] - centres).max(axis=-1) <= 3.0 - BORDER_NM + 1e-9
    assert inside.any(axis=1).all()
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert (steps < 6.0).all()  # neighbours in time are neighbours in place


def test_a_field_is_scanned_with_the_dose_that_is_asked_for() -> None:
    microscope = RenderedMicroscope(Specimen())
    as_protocol: Microscope = microscope
    request = SURE_SCAN.request(as_protocol, (1.0, 2.0))
    assert microscope.dose_e_per_angstrom2(request) == pytest.approx(20_000)
    assert (request.centre_nm, request.shape) == ((1.0, 2.0), (240, 240))
    microscope.current_pa = 0.0
    with pytest.raises(InputError, match="probe current"):
        SURE_SCAN.request(as_protocol, (1.0, 2.0))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FieldScan(dose_e_per_angstrom2=0.0),
        lambda: Area(size_nm=(0.0, 3.0)),
        lambda: AREA.centres(1.0),
        lambda: AREA.centres(math.nan),
    ],
)
def test_areas_and_fields_that_cannot_be_are_said(wrong: Any) -> None:
    with pytest.raises(InputError):
        wrong()


# Counting


def test_the_interval_of_a_fraction_is_wilsons() -> None:
    ten = fraction(10, 100, sites_per_nm2=10.0)
    assert (ten.low, ten.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert ten.per_cm2 == pytest.approx(0.1 * 10 * 1e14)
    assert fraction(0, 50, 10.0).low == 0.0
    nothing = fraction(0, 0, 10.0)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    assert math.isnan(nothing.value)


def test_two_views_of_a_site_count_its_prior_once() -> None:
    candidates = classes.candidates("WSe2", ("V",))
    prior = dict(zip((c.species for c in candidates), classes.priors(candidates), strict=True))
    likelihoods = [{"W": 0.2, "V_W": 0.7, "vac_W": 0.1}, {"W": 0.1, "V_W": 0.6, "vac_W": 0.3}]

    def posterior(*seen: dict[str, float]) -> dict[str, float]:
        weight = {s: prior[s] * math.prod(v.get(s, 0.0) for v in seen) for s in prior}
        return {s: w / sum(weight.values()) for s, w in weight.items()}

    both = together(posterior(likelihoods[0]), posterior(likelihoods[1]), candidates)
    assert both == pytest.approx(posterior(*likelihoods))
    assert both["Se2"] == 0.0


# Survey


@pytest.mark.parametrize("drift", [(0.0, 0.0), (0.012, -0.016)])
def test_a_survey_finds_each_dopant_once(judge: FrameAnalyzer, drift: tuple[float, float]) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), drift)
    with _session(microscope, judge) as session:
        witness = Witness(microscope, session)
        result = survey_grid(session, AREA, scan=SURE_SCAN, species={"V_W"})
    assert result.fields == len(microscope.scans) == 4
    assert (result.refused, result.ended) == (0, "")
    found = [witness.species(f) for f in result.findings]
    assert {species for _, species in found} == {"V_W"}
    assert len({site for site, _ in found}) == len(found)
    wanted = _dopants(microscope.specimen, AREA)
    assert len(wanted) >= 8
    assert wanted <= {site for site, _ in found}
    share = result.fractions["V_W"]
    cell_nm2 = math.sqrt(3) / 2 * 0.332**2
    assert share.of == pytest.approx(math.prod(AREA.size_nm) / cell_nm2, rel=0.03)
    assert share.low < len(wanted) / share.of < share.high


def test_a_limit_ends_a_survey_with_what_there_is(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    with _session(microscope, judge, limits=Limits(acquisitions=2)) as session:
        witness = Witness(microscope, session)
        result = survey_grid(session, AREA, scan=SURE_SCAN)
    assert result.fields == len(microscope.scans) == 2
    assert "acquisitions" in result.ended
    assert result.findings
    assert "survey: end" in witness.decisions


def test_a_shuffled_survey_is_another_order_of_the_same_fields(judge: FrameAnalyzer) -> None:
    orders = []
    for seed in (None, 1, 1, 2):
        microscope = RenderedMicroscope(Specimen(seed=4))
        with _session(microscope, judge) as session:
            survey_grid(session, AREA, scan=LOW_SCAN, shuffle_seed=seed)
        orders.append([r.centre_nm for r in microscope.scans])
    assert orders[1] == orders[2]
    assert orders[0] != orders[1]
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_fields_that_cannot_be_judged_are_counted(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    blind = FieldScan(dose_e_per_angstrom2=5.0, field_of_view_nm=6.0, pixels=240)
    with _session(microscope, judge) as session:
        result = survey_grid(session, AREA, scan=blind)
    assert result.fields == result.refused == 4
    assert not result.findings
    assert result.fractions == {}


# Confirm


@pytest.mark.parametrize("drift", [(0.0, 0.0), (0.012, -0.016)])
def test_confirming_finds_what_a_low_dose_leaves_in_doubt(
    judge: FrameAnalyzer, drift: tuple[float, float]
) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), drift)
    with _session(microscope, judge) as session:
        witness = Witness(microscope, session)
        result = confirm(session, AREA, species={"V_W"}, scan=LOW_SCAN)
        spent = session.spent
    found = [witness.species(f) for f in result.findings]
    assert {species for _, species in found} == {"V_W"}
    assert len({site for site, _ in found}) == len(found)
    assert _dopants(microscope.specimen, AREA) <= {site for site, _ in found}
    assert not result.undecided
    assert result.revisits == len(microscope.scans) - result.fields > 3
    assert any(f.looks > 1 for f in result.findings)
    assert min(f.probability for f in result.findings) >= 0.99
    assert spent.acquisitions == len(microscope.scans)
    # No second look is taken of what was decided at once.
    sure = [f for f in result.findings if f.looks == 1]
    zoomed = [r.centre_nm for r in microscope.scans if r.field_of_view_nm < 4.0]
    assert sure
    assert all(math.dist(centre, (f.y_nm, f.x_nm)) > 0.1 for centre in zoomed for f in sure)
    for wanted in ("confirm: revisit", "confirm: found", "confirm: excluded"):
        assert wanted in witness.decisions


def test_what_no_dose_can_tell_is_left_undecided_without_exposing_it(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(dopant="Re", seed=4))
    area = Area(size_nm=(3.0, 3.0))
    with _session(microscope, judge) as session:
        result = confirm(session, area, species={"Re_W"}, scan=SURE_SCAN, excluded=0.001)
    assert len(microscope.scans) == 1
    assert len(result.undecided) > 20
    assert {reason.split(":")[0] for _, reason in result.undecided} == {
        "No dose tells Re_W from W with a decision"
    }


def test_a_limit_ends_confirming_and_names_what_it_left(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    with _session(microscope, judge, limits=Limits(acquisitions=2)) as session:
        result = confirm(session, AREA, species={"V_W"}, scan=LOW_SCAN)
    assert len(microscope.scans) == 2
    assert "acquisitions" in result.ended
    assert "a limit was reached" in {reason for _, reason in result.undecided}


def test_a_site_that_is_never_decided_is_given_up(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    never, area = Revisit(looks=2, most_e_per_angstrom2=1000.0), Area(size_nm=(4.0, 4.0))
    with _session(microscope, judge) as session:
        result = confirm(session, area, species={"V_W"}, scan=LOW_SCAN, revisit=never, sure=1 - 1e-7)
    assert "2 looks did not decide it" in {reason for _, reason in result.undecided}


def test_a_specimen_that_jumps_away_is_not_confirmed_elsewhere(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), jumps={1: (4.1, 3.3)})
    with _session(microscope, judge) as session:
        result = confirm(session, Area(size_nm=(4.0, 4.0)), species={"V_W"}, scan=LOW_SCAN)
    assert result.undecided
    assert {reason for _, reason in result.undecided} == {"it was not found again"}


def test_confirming_resumes_without_repeating_an_exposure(judge: FrameAnalyzer, tmp_path: Path) -> None:
    path, area = tmp_path / "session.h5", Area(size_nm=(4.0, 4.0))
    specimen = Specimen(seed=4)
    results = []
    for resume in (False, True):
        microscope = RenderedMicroscope(specimen)
        microscope.now_ns += 60_000_000_000 * resume
        with Recorder.open(path, session={}, resume=resume) as record:
            with _session(microscope, judge, record=record) as session:
                results.append(confirm(session, area, species={"V_W"}, scan=LOW_SCAN))
            assert bool(microscope.scans) is not resume
    first, second = results
    assert [(f.y_nm, f.x_nm, f.species, f.looks) for f in first.findings] == [
        (f.y_nm, f.x_nm, f.species, f.looks) for f in second.findings
    ]
    assert first.revisits == second.revisits > 0


def test_a_dry_run_exposes_nothing(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    with _session(microscope, judge, dry_run=True) as session:
        result = confirm(session, AREA, species={"V_W"}, scan=LOW_SCAN)
        assert session.spent.acquisitions == 4
    assert not microscope.scans
    assert result.refused == 4


def test_nothing_to_look_for_is_said(judge: FrameAnalyzer) -> None:
    with _session(RenderedMicroscope(Specimen()), judge) as session:
        with pytest.raises(InputError, match="Name a species"):
            confirm(session, AREA, species=(), scan=LOW_SCAN)
        with pytest.raises(InputError, match="cannot occur here"):
            confirm(session, AREA, species={"Mo_W"}, scan=LOW_SCAN)


def test_the_planner_asks_for_more_where_more_is_missing(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    with _session(microscope, judge) as session:
        view = session.look(LOW_SCAN.request(microscope, (0.0, 0.0)))
    planner = DosePlanner(least_e_per_angstrom2=10.0)
    told = {"species": {"V_W"}, "sure": 0.99, "excluded": 0.01}
    doses = [
        planner.dose_to_decide(
            view.result, {"V_W": 0.5, "W": rest, "vac_W": 0.5 - rest, "Se2": 0.0}, **told
        ).dose_e_per_angstrom2
        for rest in (0.45, 0.05)
    ]
    assert doses[1] > 3 * doses[0]  # a vacancy is the harder rival
    assert (
        DosePlanner(least_e_per_angstrom2=1e5)
        .dose_to_decide(view.result, {"V_W": 0.5, "W": 0.5}, **told)
        .dose_e_per_angstrom2
        == 1e5
    )


# Until precise


def test_counting_ends_once_it_is_precise(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    area = Area(size_nm=(24.0, 24.0))
    with _session(microscope, judge) as session:
        result = until_precise(session, area, scan=SURE_SCAN, species=POORER, relative=0.3)
    share = result.fraction
    assert result.reached
    assert share is not None
    assert 3 <= result.fields < 25
    assert (share.high - share.low) / 2 <= 0.3 * share.value
    prevalence = classes.REAL_PREVALENCE
    assert share.low < prevalence[Role.CHALCOGEN_VACANCY] + prevalence[Role.OXYGEN] < share.high
    assert result.undecided < 0.1 * share.count


def test_an_area_that_is_too_small_is_said(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    with _session(microscope, judge) as session:
        result = until_precise(session, Area(size_nm=(4.0, 4.0)), scan=SURE_SCAN, species=POORER, relative=0.1)
        with pytest.raises(InputError, match="between 0 and 1"):
            until_precise(session, AREA, scan=SURE_SCAN, species=POORER, relative=0.0)
        with pytest.raises(InputError, match="different sublattices"):
            until_precise(session, AREA, scan=SURE_SCAN, species={"vac_Se", "V_W"})
        with pytest.raises(InputError, match="Name a species"):
            until_precise(session, AREA, scan=SURE_SCAN, species=())
    assert not result.reached
    assert result.ended == "every field of the area was scanned"


# Follow


def test_a_dopant_is_followed_against_drift(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), drift_nm_per_s=(0.12, -0.16))
    close = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=3.0, pixels=128)
    with _session(microscope, judge) as session:
        witness = Witness(microscope, session)
        view = session.look(SURE_SCAN.request(microscope, (0.0, 0.0)))
        target = next(session.targets(view, species={"V_W"}))
        seen: list[str] = []
        result = follow(
            session, target, close=close, times=6, each=lambda view, _: seen.append(view.key), rule="after it"
        )
    assert len(result.sightings) == 7
    assert seen == [f"after it/look {k}" for k in range(6)]
    first, last = result.sightings[0], result.sightings[-1]
    for now, went in ((last.y_nm - first.y_nm, 0.12), (last.x_nm - first.x_nm, -0.16)):
        assert now == pytest.approx(went * last.seconds, abs=0.05)
    assert abs(last.y_nm - first.y_nm) > 0.1
    assert {s.species for s in result.sightings} == {"V_W"}
    assert result.drift_nm_per_s == pytest.approx((0.12, -0.16), rel=0.3)
    assert witness.decisions.count("after it: found again") >= 6


def test_a_target_that_is_lost_ends_following(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), jumps={2: (7.1, 5.3)})
    close = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=3.0, pixels=128)
    with _session(microscope, judge) as session:
        view = session.look(SURE_SCAN.request(microscope, (0.0, 0.0)))
        target = next(session.targets(view, species={"V_W"}))
        result = follow(session, target, close=close, times=6)
    assert result.looks == 3
    assert len(result.sightings) == 2
    assert "not found again" in result.ended


# Watch


def test_a_vacancy_that_is_made_under_the_beam_takes_it_off(judge: FrameAnalyzer) -> None:
    specimen = ChangingSpecimen(seed=4)
    microscope = RenderedMicroscope(specimen, drift_nm_per_s=(0.012, -0.016))
    sites = specimen.columns_in(-1.0, -1.0, 1.0, 1.0)
    whole = np.flatnonzero((sites.role == Role.CHALCOGEN_PAIR.value) & (sites.sublattice == 1))
    chosen = sites.lattice_index[whole[len(whole) // 2]]
    with _session(microscope, judge) as session:
        witness = Witness(microscope, session)

        def damage(event: SessionEvent) -> None:
            if len(microscope.scans) == 3:
                specimen.vacant = ((int(chosen[0]), int(chosen[1])),)

        session.events.listen(damage)
        microscope.blanked = False
        result = watch(session, scan=SURE_SCAN, frames=10, after=POORER)
        assert microscope.blanked
    assert result.blanked
    assert result.frames == 5  # the change is in the fourth, and confirmed by the fifth
    (change,) = result.changes
    assert (change.before, change.view) == ("Se2", "watch/frame 3")
    assert change.after in POORER
    place = sites.positions_nm[whole[len(whole) // 2]]
    assert math.dist((change.y_nm, change.x_nm), place) < 0.1
    assert witness.decisions[-1] == "watch: blank"
    assert result.dose_e_per_angstrom2 == pytest.approx(5 * 20_000)


def test_a_field_that_does_not_change_is_watched_to_the_end(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), drift_nm_per_s=(0.012, -0.016))
    with _session(microscope, judge) as session:
        result = watch(session, scan=SURE_SCAN, frames=4)
        with pytest.raises(InputError, match="Two frames"):
            watch(session, scan=SURE_SCAN, frames=1)
    assert (result.frames, result.not_compared, result.changes, result.blanked) == (4, 0, (), False)


def test_a_field_that_is_gone_is_not_compared(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4), jumps={2: (30.0, 21.0)})
    with _session(microscope, judge) as session:
        result = watch(session, scan=SURE_SCAN, frames=4)
    assert result.not_compared == 2
    assert result.changes == ()


def test_a_pause_ends_with_the_session(judge: FrameAnalyzer) -> None:
    microscope = RenderedMicroscope(Specimen())
    with _session(microscope, judge) as session:
        stopper = threading.Timer(0.1, session.stop)
        stopper.start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            pause(session, 300.0)
        stopper.join()
    assert time.monotonic() - began < 100.0


# Survey files

_SCAN = "scan = { dose_e_per_angstrom2 = 20000, field_of_view_nm = 6.0, pixels = 240 }"
_AREA = "area = { size_nm = [4.0, 4.0] }"
FILES = {
    "survey": f'[policy]\nkind = "survey"\n{_AREA}\n{_SCAN}',
    "confirm": f'[policy]\nkind = "confirm"\nspecies = ["V_W"]\n{_AREA}\n{_SCAN}',
    "precise": f'[policy]\nkind = "until_precise"\nspecies = ["vac_Se", "O_Se"]\n{_AREA}\n{_SCAN}',
    "follow": f'[policy]\nkind = "follow"\ntimes = 1\n{_SCAN}\nclose = {_SCAN[7:]}',
    "watch": f'[policy]\nkind = "watch"\nframes = 2\n{_SCAN}',
}


@pytest.mark.parametrize("kind", FILES)
def test_every_policy_runs_from_a_file(judge: FrameAnalyzer, kind: str) -> None:
    microscope = RenderedMicroscope(Specimen(seed=4))
    asked = parse_survey(FILES[kind])
    with _session(microscope, judge, limits=asked.limits) as session:
        said = plain(run_policy(session, asked.policy))
    assert said["result_of"] == kind
    assert microscope.scans


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[policy]", "[police]", "no key 'police' here. Did you mean 'policy'"),
        ("dose_e_per", "dosis_e_per", r"\[policy.scan\]: there is no key 'dosis_e_per_angstrom2' here. Did you mean 'dose"),
        ('"survey"', '"surveil"', r"\[policy.kind\]: Invalid value 'surveil'. The kinds are survey, confirm"),
        ("20000", '"much"', r"\[policy.scan.dose_e_per_angstrom2\]: Expected `float`, got `str`"),
        ("20000", "-1", "must be above 0"),
        ("size_nm = [4.0, 4.0]", "size_nm = [4.0]", r"\[policy.area.size_nm\]"),
        (_SCAN, "", r"\[policy\]: Object missing required field `scan`"),
        ("[policy]", "[policy", "This is not TOML"),
        ("[policy]", "[limits]\nacquisition = 3\n[policy]", r"\[limits\].*Did you mean 'acquisitions'"),
        ("[policy]", "[microscope]\nhots = 'WSe2'\n[policy]", r"\[microscope\].*Did you mean 'host'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_named(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_survey(FILES["survey"].replace(old, new))
