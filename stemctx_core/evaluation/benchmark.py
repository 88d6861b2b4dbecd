"""Accuracy and entropy over the benchmark's 576 cases by dose, on scenes that training never drew.

Full context: host, candidate list, energy and detector are told, and the frame's own calibration (source size,
background, gain, ratio) is known as well as a frame of some thousand sites gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from stemctx_core import classes, metrics
from stemctx_core.classes import Role
from stemctx_core.classifier import Classifier, load_bundle, posterior_from
from stemctx_core.dataset.cases import Case, benchmark_cases
from stemctx_core.dataset.groups import Group, make_group
from stemctx_core.encoding import Nuisance, Scene
from stemctx_core.features import projection
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.render import Optics

DOSES: Final = (1e3, 1e4, 1e5, 1e6)
_PATCHES_PER_SCENE: Final = 5
#: |ΔZ| ≤ 5 to the host's metal.
NEAR_Z: Final = {"Mo": ("Nb", "Ru", "Rh"), "W": ("Ta", "Re", "Pt", "Au")}
#: What a benchmark scene does not tell exactly, see `docs`: the frame-calibrated case.
NUISANCE: Final = Nuisance(
    jitter_angstrom=0.05,
    shift_angstrom=0.03,
    amplitude=0.0,
    gain=0.001,
    ratio=0.001,
    background=0.001,
    sigma_angstrom=0.002,
    response=0.0,
    defects=0.03,
)


@dataclass(frozen=True)
class Row:
    """Figures of one label set at one dose."""

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


@dataclass(frozen=True)
class _Sample:
    case: Case
    label: NDArray[np.int64]
    learned: NDArray[np.float32]
    physics: NDArray[np.float32]


def run_benchmark(bundle: Path | None = None, patches_per_dose: int = 20000, seed: int = 20260609) -> list[Row]:
    """Evaluate a bundle.

    Parameters
    ----------
    bundle
        Folder of a model, the shipped one by default.
    patches_per_dose
        Roles are balanced and cases are drawn evenly.
    seed
        Shares no draw with training, whose seeds are pairs.
    """
    classifier = Classifier(load_bundle(bundle))
    library = shipped_library()
    cases = benchmark_cases()
    rows = []
    for dose in DOSES:
        rng = np.random.default_rng([seed, round(np.log10(dose)), 7])
        scenes = max(1, round(patches_per_dose / (_PATCHES_PER_SCENE * len(classes.L7))))
        order = np.concatenate([rng.permutation(len(cases)) for _ in range(scenes // len(cases) + 1)])[:scenes]
        samples = [_sample(classifier, library, cases[i], dose, rng) for i in order]
        rows += [_row("L7", dose, samples, classes.L7), _row("L5", dose, samples, classes.L5)]
        far = [s for s in samples if s.case.dopants[0] not in NEAR_Z[s.case.host.metal]]
        rows.append(_row("L5 far-Z", dose, far, classes.L5))
    return sorted(rows, key=lambda row: (("L7", "L5", "L5 far-Z").index(row.labels), row.dose_e_per_angstrom2))


def benchmark_scene(case: Case, dose_e_per_angstrom2: float, rng: np.random.Generator) -> Scene:
    """A scene with the benchmark's nuisances for a case."""
    return Scene(
        host=case.host,
        candidates=classes.candidates(case.host.name, case.dopants),
        optics=Optics(
            case.high_tension_kv,
            case.convergence_semi_angle_mrad,
            case.inner_mrad,
            case.outer_mrad,
            rng.uniform(0.35, 0.55),
        ),
        dose_e_per_angstrom2=dose_e_per_angstrom2,
        background=rng.uniform(0, 0.06),
        ratio=1.0,
        nuisance=NUISANCE,
    )


def physics_log_likelihood(group: Group) -> NDArray[np.float32]:
    """Gaussian log-likelihood of the predictions alone, without the trained correction."""
    features = group.patches @ projection().T.astype(np.float32)
    white = np.einsum("ckj,ncj->nck", group.encoded.whiten, features[:, None] - group.encoded.mean)
    likelihood: NDArray[np.float32] = -0.5 * np.sum(white**2, axis=-1) - 0.5 * group.encoded.log_det
    return likelihood


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


def _sample(
    classifier: Classifier, library: ResponseLibrary, case: Case, dose: float, rng: np.random.Generator
) -> _Sample:
    group = make_group(library, benchmark_scene(case, dose, rng), _PATCHES_PER_SCENE, rng)
    learned = classifier.log_likelihood(group.patches, group.encoded)
    return _Sample(case, group.label, learned, physics_log_likelihood(group))


def _row(labels: str, dose: float, samples: list[_Sample], roles: tuple[Role, ...]) -> Row:
    """Figures with the candidate list cut to some roles; patches of other roles are left out."""
    learned, physics, truth = [], [], []
    for sample in samples:
        listed = [c.role for c in classes.candidates(sample.case.host.name, sample.case.dopants)]
        columns = np.array([listed.index(role) for role in roles])
        kept = np.isin(sample.label, columns)
        learned.append(sample.learned[np.ix_(kept, columns)])
        physics.append(sample.physics[np.ix_(kept, columns)])
        truth.append(np.argsort(columns)[np.searchsorted(np.sort(columns), sample.label[kept])])
    posterior, label = posterior_from(np.concatenate(learned)), np.concatenate(truth)
    return Row(
        labels=labels,
        dose_e_per_angstrom2=dose,
        patches=len(label),
        accuracy=metrics.accuracy(posterior, label),
        entropy_nats=metrics.mean_entropy_nats(posterior),
        negative_log_likelihood=metrics.negative_log_likelihood(posterior, label),
        calibration_error=metrics.expected_calibration_error(posterior, label),
        physics_only_accuracy=metrics.accuracy(posterior_from(np.concatenate(physics)), label),
    )
