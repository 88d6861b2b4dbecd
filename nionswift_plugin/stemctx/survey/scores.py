"""What the benchmark of surveys says of each policy, and of all of them together."""

from __future__ import annotations

from typing import Final

import msgspec

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
