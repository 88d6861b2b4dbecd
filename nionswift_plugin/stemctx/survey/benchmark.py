"""What the confirming policy saves: three ways to find rare dopants, and one that spends evenly, against the truth.

The specimen is a WSe2 monolayer in which 0.2 % of the tungsten is vanadium and every other defect is as frequent as in
real crystals; it drifts by 0.2 Å/s. The planner sets both doses: the survey is scanned at the dose that tells V_W
from the host's W, the confirming dose tells it from everything that may stand at a metal site.

A dopant of the area that was not found is missed, whatever the reason: not scanned, undecided, refused. A finding is
right where the named species stands within 0.8 Å on the specimen, and only once a site.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from nionswift_plugin.stemctx.scripting.survey_microscope import SurveySettings, simulated
from nionswift_plugin.stemctx.survey.judge import SPECIES, Judge
from nionswift_plugin.stemctx.survey.scores import POLICIES, BenchmarkDoses, BenchmarkReport, PolicyScore
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.confirm import Revisit, confirm
from realtime.autonomy.policies.sites import Finding
from realtime.autonomy.policies.survey import survey_grid
from realtime.autonomy.session import Session
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.context import ImagingContext
from stemctx_core.planning.planner import dose_to_tell

DOPANT_FRACTION: Final = 0.002
DRIFT_ANGSTROM_PER_S: Final = 0.2
#: Confusions of the dopant with the host that the survey may leave, and with any rival at the confirming dose.
SURVEY_ERROR: Final = 1e-4
CONFIRM_ERROR: Final = 1e-3
SURE: Final = 0.99
REVISIT: Final = Revisit(field_of_view_nm=3.0, pixels=128)


def settings_of(seed: int, drift_angstrom_per_s: float = DRIFT_ANGSTROM_PER_S) -> SurveySettings:
    """Microscope and specimen of a seed."""
    drift_nm_per_s = drift_angstrom_per_s / 10
    return SurveySettings(
        specimen_seed=1000 + seed,
        noise_seed=seed,
        dopant_fraction=DOPANT_FRACTION,
        drift_nm_per_s=(0.6 * drift_nm_per_s, -0.8 * drift_nm_per_s),
        probe_current_pa=20.0,
    )


def planned_doses(context: ImagingContext, analyzer: FrameAnalyzer) -> BenchmarkDoses:
    """Doses of survey and confirmation by the planner."""
    host = next(c for c in context.candidates if not c.is_defect and c.sublattice is Sublattice.METAL)
    rivals = [
        c.species for c in context.candidates if c.sublattice is Sublattice.METAL and c.species != SPECIES
    ]

    def dose(rival: str, error: float) -> float:
        return dose_to_tell(analyzer.library, context, SPECIES, rival, error).dose_e_per_angstrom2

    hardest = max(rivals, key=lambda rival: dose(rival, CONFIRM_ERROR))
    return BenchmarkDoses(dose(host.species, SURVEY_ERROR), dose(hardest, CONFIRM_ERROR), hardest)


def run_benchmark(
    seeds: int = 5,
    area_nm: float = 35.0,
    drift_angstrom_per_s: float = DRIFT_ANGSTROM_PER_S,
    on_score: Callable[[PolicyScore], None] = lambda _: None,
) -> BenchmarkReport:
    """Run every policy on as many specimens.

    Parameters
    ----------
    seeds
        Number of specimens.
    area_nm
        Side of the surveyed square.
    drift_angstrom_per_s
        Of the specimen, for every second of beam time.
    on_score
        Called after every policy on every specimen.
    """
    began = time.monotonic()
    analyzer = FrameAnalyzer.shipped()
    area = Area(size_nm=(area_nm, area_nm))
    scores: list[PolicyScore] = []
    with simulated(settings_of(0)) as (microscope, _):
        doses = planned_doses(microscope.context(), analyzer)
    for seed in range(seeds):
        spent = 0.0
        for policy in POLICIES:
            settings = settings_of(seed, drift_angstrom_per_s)
            score = _run(policy, settings, area, doses, analyzer, spent)
            spent = score.electrons if policy == "confirm" else spent
            scores.append(score)
            on_score(score)
    return BenchmarkReport(
        doses, area_nm, drift_angstrom_per_s, DOPANT_FRACTION, tuple(scores), time.monotonic() - began
    )


def _run(
    policy: str,
    settings: SurveySettings,
    area: Area,
    doses: BenchmarkDoses,
    analyzer: FrameAnalyzer,
    electrons: float,
) -> PolicyScore:
    """One policy on a specimen that nobody has looked at yet.

    Parameters
    ----------
    electrons
        What the confirming policy spent, for those that shall spend as much.
    """
    seed = settings.noise_seed
    limits = Limits(dose_per_session_electrons=electrons) if policy == "random" else Limits()
    scan = FieldScan(dose_e_per_angstrom2=doses.survey if policy == "confirm" else doses.confirm)
    if policy == "even":
        fields = len(area.centres(scan.field_of_view_nm))
        even = electrons / (fields * (10 * scan.field_of_view_nm) ** 2)
        scan = msgspec.structs.replace(scan, dose_e_per_angstrom2=even)
    with simulated(settings) as (microscope, headless):
        judge = Judge(microscope)
        with Session(microscope, analyzer, limits=limits) as session:
            session.events.listen(judge.hear)
            undecided: tuple[Finding, ...] = ()
            if policy == "confirm":
                confirmed = confirm(session, area, species={SPECIES}, scan=scan, revisit=REVISIT, sure=SURE)
                findings, undecided = confirmed.findings, tuple(f for f, _ in confirmed.undecided)
            else:
                shuffle = seed if policy == "random" else None
                findings = survey_grid(
                    session, area, scan=scan, species={SPECIES}, sure=SURE, shuffle_seed=shuffle, rule=policy
                ).findings
            cost = session.budget.spent
        right, wrong, missed, doubtful = judge.score(findings, undecided, headless.specimen, area)
    return PolicyScore(
        policy, seed, right, wrong, missed, doubtful, cost.electrons, cost.acquisitions, judge.beam_s
    )
