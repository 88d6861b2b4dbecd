"""Figures of a label set: the candidate list cut to some roles, patches of other roles left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import metrics
from stemctx_core.chemistry.classes import L5, L7, Role, candidates
from stemctx_core.dataset.cases import Case, benchmark_cases
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import normalised
from stemctx_core.evaluation.scenes import Mode, is_near_z
from stemctx_core.metrics import Estimate

#: Roles that are looked for, and of which cases: all, near-Z (True) or far-Z (False).
LABEL_SETS: Final[dict[str, tuple[tuple[Role, ...], bool | None]]] = {
    "L5": (L5, None),
    "L7": (L7, None),
    "L5 far-Z": (L5, False),
    "L7 far-Z": (L7, False),
    "L7 near-Z": (L7, True),
}


@dataclass(frozen=True)
class Answers:
    """Posterior and truth of the patches of a label set.

    Attributes
    ----------
    posterior
        (n, roles) with equal priors.
    label
        (n,) column of the true one.
    scene
        (n,) which scene a patch is of.
    kept
        (N,) which of all patches these are.
    """

    posterior: NDArray[np.float64]
    label: NDArray[np.int64]
    scene: NDArray[np.int64]
    kept: NDArray[np.bool_]

    def figures(self) -> dict[str, Any]:
        """Everything that a row prints."""
        return {
            "patches": len(self.label),
            "scenes": len(np.unique(self.scene)),
            "accuracy": self.accuracy.figures(),
            "entropy_nats": self.entropy.figures(),
            "negative_log_likelihood": self.surprise.figures(),
            "calibration_error": self.calibration.figures(),
        }

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether the most probable one is the true one."""
        return self.posterior.argmax(axis=1) == self.label  # type: ignore[no-any-return]

    @property
    def accuracy(self) -> Estimate:
        """Share that is right."""
        return metrics.clustered_mean(self.right, self.scene)

    @property
    def entropy(self) -> Estimate:
        """Mean posterior entropy (nats)."""
        return metrics.clustered_mean(metrics.entropies_nats(self.posterior), self.scene)

    @property
    def surprise(self) -> Estimate:
        """Negative log-likelihood (nats)."""
        return metrics.clustered_mean(metrics.surprises_nats(self.posterior, self.label), self.scene)

    @property
    def calibration(self) -> Estimate:
        """Expected calibration error, 15 bins."""
        return metrics.calibration_error(self.posterior, self.label, self.scene)


def answers(
    judged: Arrays,
    labels: str,
    what: str = "learned",
    cases: list[Case] | None = None,
    case_of_scene: NDArray[np.int64] | None = None,
) -> Answers:
    """Cut what was judged to a label set.

    Parameters
    ----------
    judged
        From `Bench.run`.
    labels
        Key of `LABEL_SETS`.
    what
        Whose answer: ``learned``, ``physics`` or ``bayes``.
    cases, case_of_scene
        Which case a scene number stands for; the benchmark's own by default.
    """
    roles, near = LABEL_SETS[labels]
    columns = np.array([L7.index(r) for r in roles])
    kept = np.isin(judged["label"], columns)
    if near is not None:
        listed = benchmark_cases() if cases is None else cases
        is_near = np.array([is_near_z(c) for c in listed])
        number = judged["scene"] if case_of_scene is None else case_of_scene[judged["scene"]]
        kept &= is_near[number] == near
    place = np.full(len(L7), -1)
    place[columns] = np.arange(len(columns))
    return Answers(
        posterior=normalised(judged[what][np.ix_(kept, columns)]),
        label=place[judged["label"][kept]].astype(np.int64),
        scene=judged["scene"][kept].astype(np.int64),
        kept=kept,
    )


def patches_of(judged: Arrays, labels: str) -> int:
    """How many patches a label set has among those that were judged."""
    return len(answers(judged, labels).label)


def row(judged: Arrays, labels: str, mode: Mode, dose_e_per_angstrom2: float) -> dict[str, Any]:
    """Figures of the scorer and of the predictions alone, for one label set at one dose; with their standard errors."""
    # With one dopant a list, a role has one species: both views are the same question to the scorer.
    return {
        "mode": mode.value,
        "labels": labels,
        "dose_e_per_angstrom2": dose_e_per_angstrom2,
        "scorer": answers(judged, labels).figures(),
        "predictions_alone": answers(judged, labels, "physics").figures(),
    }


def distance(judged: Arrays, labels: str, **which: Any) -> dict[str, Any]:
    """The scorer beside the Bayes reference on the same patches, paired.

    Returns
    -------
    dict
        Figures of both; ``gap_points`` is Bayes accuracy less the scorer's in points, ``divergence_nats`` the mean
        Kullback-Leibler divergence of the scorer's posterior from the reference's.
    """
    ours, bayes = (answers(judged, labels, what, **which) for what in ("learned", "bayes"))
    gap = metrics.clustered_mean(100.0 * (bayes.right * 1.0 - ours.right), ours.scene)
    divergence = metrics.clustered_mean(metrics.divergences_nats(bayes.posterior, ours.posterior), ours.scene)
    excess = metrics.clustered_mean(
        metrics.entropies_nats(bayes.posterior) - metrics.surprises_nats(bayes.posterior, bayes.label),
        bayes.scene,
    )
    return {
        "patches": len(ours.label),
        "scorer": ours.figures(),
        "bayes": bayes.figures(),
        "gap_points": gap.figures(),
        "divergence_nats": divergence.figures(),
        "bayes_entropy_less_surprise_nats": excess.figures(),
    }


def case_table(by_dose: dict[float, Arrays]) -> list[dict[str, Any]]:
    """Accuracy and entropy of every case that was drawn, by dose, and what is confused there most often."""
    table = []
    names = [case_name(c) for c in benchmark_cases()]
    for number, case in enumerate(benchmark_cases()):
        doses = {}
        wrong = np.zeros((len(L7), len(L7)))
        for dose, judged in by_dose.items():
            here = judged["scene"] == number
            if not here.any():
                continue
            posterior = normalised(judged["learned"][here])
            label = judged["label"][here].astype(np.int64)
            np.add.at(wrong, (label, posterior.argmax(axis=1)), 1.0)
            doses[f"{dose:.0e}"] = {
                "patches": len(label),
                "accuracy": metrics.rounded(metrics.accuracy(posterior, label)),
                "entropy_nats": metrics.rounded(metrics.mean_entropy_nats(posterior)),
            }
        if doses:
            table.append(
                {
                    "case": names[number],
                    "near_z": is_near_z(case),
                    "accuracy": metrics.rounded(float(np.mean([d["accuracy"] for d in doses.values()]))),
                    "doses": doses,
                    "confused": _confused(wrong, case),
                }
            )
    return table


def case_name(case: Case) -> str:
    """Such as ``Re in WSe2, 80 kV, 70–200 mrad``."""
    dopants = "+".join(case.dopants)
    return f"{dopants} in {case.host.name}, {case.high_tension_kv:g} kV, {case.inner_mrad:g}–{case.outer_mrad:g} mrad"


def _confused(counts: NDArray[np.float64], case: Case) -> str:
    off = counts - np.diag(np.diag(counts))
    if not off.any():
        return ""
    true, told = np.unravel_index(off.argmax(), off.shape)
    listed = candidates(case.host.name, case.dopants)
    return f"{listed[true].species} taken for {listed[told].species}"
