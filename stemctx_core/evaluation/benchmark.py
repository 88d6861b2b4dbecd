"""A short table of a model over the 576 cases: what training prints and a card holds. `stemctx evaluate` tells more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from stemctx_core.chemistry.classes import L7
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.evaluation.judging import Judge, Task, joined
from stemctx_core.evaluation.rows import patches_of, row
from stemctx_core.evaluation.scenes import DOSES, Job, Mode

_PATCHES_PER_SCENE = 5
_SHOWN = ("L7", "L5", "L5 far-Z")
#: Figures of the scorer, and their heads in the table.
_FIGURES = {
    "accuracy": "accuracy",
    "entropy_nats": "entropy nats",
    "negative_log_likelihood": "NLL",
    "calibration_error": "ECE",
}


def run_benchmark(
    bundle: Path | None = None,
    patches_per_dose: int = 20000,
    seed: int = 20260609,
) -> list[dict[str, Any]]:
    """Rows (`stemctx_core.evaluation.rows.row`) of a bundle with full context and the frame's own calibration.

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
        rows += [row(together, labels, Mode.FRAME, dose) for labels in _SHOWN if patches_of(together, labels)]
    return sorted(rows, key=lambda r: (_SHOWN.index(r["labels"]), r["dose_e_per_angstrom2"]))


def table(rows: list[dict[str, Any]]) -> Table:
    """Rows as a table for the terminal."""
    shown = Table(title="576 cases, full context, balanced roles")
    for name in ("labels", "dose e/Å²", "patches", *_FIGURES.values(), "physics only"):
        shown.add_column(name, justify="left" if name == "labels" else "right")
    for r in rows:
        told = [r["scorer"][key]["value"] for key in _FIGURES] + [r["predictions_alone"]["accuracy"]["value"]]
        shown.add_row(
            r["labels"],
            f"{r['dose_e_per_angstrom2']:.0e}",
            str(r["scorer"]["patches"]),
            *(f"{value:.4f}" for value in told),
        )
    return shown
