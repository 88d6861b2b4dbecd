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
import numpy as np
from scipy.spatial import cKDTree

from nionswift_plugin.stemctx.scripting.survey_microscope import SurveySettings, WitnessedMicroscope, simulated
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies.area import Area, FieldScan
from realtime.autonomy.policies.confirm import Revisit, confirm
from realtime.autonomy.policies.sites import Finding
from realtime.autonomy.policies.survey import survey_grid
from realtime.autonomy.session import Session
from realtime.autonomy.views import SessionEvent
from sim.scoring import MATCH_ANGSTROM
from sim.specimen import Specimen
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.context import ImagingContext
from stemctx_core.planning.planner import dose_to_tell

SPECIES: Final = "V_W"
DOPANT_FRACTION: Final = 0.002
DRIFT_ANGSTROM_PER_S: Final = 0.2
#: Confusions of the dopant with the host that the survey may leave, and with any rival at the confirming dose.
SURVEY_ERROR: Final = 1e-4
CONFIRM_ERROR: Final = 1e-3
SURE: Final = 0.99
REVISIT: Final = Revisit(field_of_view_nm=3.0, pixels=128)
POLICIES: Final = ("confirm", "exhaustive", "random", "even")


class PolicyScore(msgspec.Struct, frozen=True):
    """One policy on one specimen.

    Attributes
    ----------
    policy, seed
        Which.
    right, wrong, missed
        Findings that are right and that are not; dopants of the area without a right finding.
    undecided
        Dopants among those missed that the policy itself says it could not decide.
    electrons, exposures, beam_s
        What it cost.
    """

    policy: str
    seed: int
    right: int
    wrong: int
    missed: int
    undecided: int
    electrons: float
    exposures: int
    beam_s: float

    @property
    def precision(self) -> float | None:
        """Share of the findings that are right; None without findings."""
        found = self.right + self.wrong
        return self.right / found if found else None

    @property
    def recall(self) -> float | None:
        """Share of the dopants that were found; None without dopants."""
        there = self.right + self.missed
        return self.right / there if there else None


class BenchmarkDoses(msgspec.Struct, frozen=True):
    """What the planner says of the specimen (e/Å²), and the species that is hardest to tell from the dopant."""

    survey: float
    confirm: float
    rival: str


class BenchmarkReport(msgspec.Struct, frozen=True):
    """Every policy on every specimen."""

    doses: BenchmarkDoses
    area_nm: float
    drift_angstrom_per_s: float
    dopant_fraction: float
    scores: tuple[PolicyScore, ...]
    seconds: float

    def total(self, policy: str) -> PolicyScore:
        """All specimens of a policy added up; the seed is -1."""
        mine = [s for s in self.scores if s.policy == policy]
        sums = {
            name: sum(getattr(s, name) for s in mine)
            for name in ("right", "wrong", "missed", "undecided", "electrons", "exposures", "beam_s")
        }
        return PolicyScore(policy=policy, seed=-1, **sums)

    def dose_share(self, policy: str, seed: int | None = None) -> float:
        """Electrons of a policy over those of the exhaustive one."""
        if seed is None:
            return self.total(policy).electrons / self.total("exhaustive").electrons
        electrons = {s.policy: s.electrons for s in self.scores if s.seed == seed}
        return electrons[policy] / electrons["exhaustive"]

    def summary(self) -> dict[str, object]:
        """Ready for JSON."""
        totals = {p: self.total(p) for p in POLICIES}
        confirming = totals["confirm"]
        recall, precision = confirming.recall or 0.0, confirming.precision or 0.0
        return {
            "specimen": f"WSe2, {self.dopant_fraction:.2%} of W is V, other defects at the real prevalence",
            "area_nm": [self.area_nm, self.area_nm],
            "drift_angstrom_per_s": self.drift_angstrom_per_s,
            "doses_e_per_angstrom2": msgspec.to_builtins(self.doses),
            "policies": {
                p: {
                    **_row(t),
                    "dose_share": self.dose_share(p),
                    "seeds": [_row(s) for s in self.scores if s.policy == p],
                }
                for p, t in totals.items()
            },
            "confirm_keeps_the_promise": recall >= 0.95
            and precision >= 0.98
            and self.dose_share("confirm") <= 0.5,
            "seconds": round(self.seconds, 1),
        }


def _row(score: PolicyScore) -> dict[str, object]:
    row: dict[str, object] = msgspec.to_builtins(score)
    return {**row, "precision": score.precision, "recall": score.recall}


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
        judge = _Judge(microscope)
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


class _Judge:
    """Compares findings with the specimen, where the frames that they were seen in really lay."""

    def __init__(self, microscope: WitnessedMicroscope) -> None:
        self._microscope = microscope
        self._scan_ids: dict[str, str] = {}
        self.beam_s = 0.0

    def hear(self, event: SessionEvent) -> None:
        if event.view is not None:
            self._scan_ids[event.view.key] = event.view.frame.frame.scan_id
            self.beam_s += event.view.request.seconds

    def score(
        self, findings: tuple[Finding, ...], undecided: tuple[Finding, ...], specimen: Specimen, area: Area
    ) -> tuple[int, int, int, int]:
        """Right, wrong, missed, and missed because undecided."""
        (y, x), (height, width) = area.centre_nm, area.size_nm
        # Drift begins at 0: the area lies on the specimen where it lies in scan coordinates.
        margin = 0.5
        sites = specimen.columns_in(
            y - height / 2 - margin, x - width / 2 - margin, y + height / 2 + margin, x + width / 2 + margin
        )
        tree = cKDTree(sites.positions_nm)
        inside = np.array([area.holds((float(p[0]), float(p[1]))) for p in sites.positions_nm])
        dopants = {int(i) for i in np.flatnonzero(inside & (sites.species == SPECIES))}
        found: set[int] = set()
        wrong = 0
        for one in findings:
            place = self._place(one)
            distance, site = tree.query(place)
            matched = distance * 10 <= MATCH_ANGSTROM
            # A finding counts where its site does.
            if not (inside[site] if matched else area.holds(place)):
                continue
            if matched and int(site) in dopants and int(site) not in found and one.species == SPECIES:
                found.add(int(site))
            else:
                wrong += 1
        doubtful = {int(tree.query(self._place(one))[1]) for one in undecided}
        missed = dopants - found
        return len(found), wrong, len(missed), len(missed & doubtful)

    def _place(self, one: Finding) -> tuple[float, float]:
        return self._microscope.specimen_nm(self._scan_ids[one.view], one.y_px, one.x_px)
