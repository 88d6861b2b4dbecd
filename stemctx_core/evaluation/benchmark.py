"""A short table of a model over the 576 cases: what training prints and a card holds. `stemctx evaluate` tells more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from stemctx_core.chemistry.classes import L7
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation.judging import Judge, Task, joined
from stemctx_core.evaluation.rows import answers
from stemctx_core.evaluation.scenes import DOSES, Job, Mode

_PATCHES_PER_SCENE = 5
_SHOWN = ("L7", "L5", "L5 far-Z")


@dataclass(frozen=True)
class Row:
    """Figures of one label set at one dose, nuisances known from the frame."""

    labels: str
    dose_e_per_angstrom2: float
    patches: int
    accuracy: float
    entropy_nats: float
    negative_log_likelihood: float
    calibration_error: float
    physics_only_accuracy: float

    def figures(self) -> dict[str, float | str | int]:
        """Rounded, for a card."""
        return {
            "labels": self.labels,
            "dose_e_per_angstrom2": self.dose_e_per_angstrom2,
            "patches": self.patches,
            "accuracy": round(self.accuracy, 4),
            "entropy_nats": round(self.entropy_nats, 4),
            "negative_log_likelihood": round(self.negative_log_likelihood, 4),
            "calibration_error": round(self.calibration_error, 4),
            "physics_only_accuracy": round(self.physics_only_accuracy, 4),
        }


def run_benchmark(
    bundle: Path | None = None,
    patches_per_dose: int = 20000,
    seed: int = 20260609,
) -> list[Row]:
    """Evaluate a bundle with full context and the frame's own calibration.

    Parameters
    ----------
    bundle
        Folder of a model, the shipped one by default.
    patches_per_dose
        Roles are balanced and cases are drawn evenly.
    seed
        Shares no draw with training, whose seeds are pairs.
    """
    judge = Judge(bundle)
    cases = benchmark_cases()
    scenes = max(1, round(patches_per_dose / (_PATCHES_PER_SCENE * len(L7))))
    rng = np.random.default_rng([seed, 8])
    rounds = scenes // len(cases) + 1
    order = np.concatenate([rng.permutation(len(cases)) for _ in range(rounds)])[:scenes]
    rows = []
    for d, dose in enumerate(DOSES):
        judged = []
        for n, i in enumerate(order):
            key = (seed, 8, d, n)
            judged.append(judge.judge(Job(cases[i], int(i), dose, Mode.FRAME, _PATCHES_PER_SCENE, key), Task()))
        together = joined(judged)
        for labels in _SHOWN:
            learned, physics = (answers(together, labels, what) for what in ("learned", "physics"))
            if not len(learned.label):
                continue
            rows.append(
                Row(
                    labels=labels,
                    dose_e_per_angstrom2=dose,
                    patches=len(learned.label),
                    accuracy=learned.accuracy.value,
                    entropy_nats=learned.entropy.value,
                    negative_log_likelihood=learned.surprise.value,
                    calibration_error=learned.calibration.value,
                    physics_only_accuracy=physics.accuracy.value,
                )
            )
    return sorted(rows, key=lambda row: (_SHOWN.index(row.labels), row.dose_e_per_angstrom2))


def table(rows: list[Row]) -> Table:
    """Rows as a table for the terminal."""
    shown = Table(title="576 cases, full context, balanced roles")
    for name in ("labels", "dose e/Å²", "patches", "accuracy", "entropy nats", "NLL", "ECE", "physics only"):
        shown.add_column(name, justify="left" if name == "labels" else "right")
    for row in rows:
        shown.add_row(
            row.labels,
            f"{row.dose_e_per_angstrom2:.0e}",
            str(row.patches),
            f"{row.accuracy:.4f}",
            f"{row.entropy_nats:.4f}",
            f"{row.negative_log_likelihood:.4f}",
            f"{row.calibration_error:.4f}",
            f"{row.physics_only_accuracy:.4f}",
        )
    return shown
