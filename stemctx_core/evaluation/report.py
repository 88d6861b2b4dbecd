"""Everything that was measured as one dictionary: the content of `evaluation.json`, whose keys `docs` explains."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stemctx_core import metrics
from stemctx_core.chemistry.classes import L7
from stemctx_core.evaluation import abstention, conditions, embedding
from stemctx_core.evaluation.ablation import IMAGE_ONLY, ablation
from stemctx_core.evaluation.cache import Arrays
from stemctx_core.evaluation.less_context import KEPT, PREFIX, VIEWS, normalised
from stemctx_core.evaluation.prevalence import prevalence_figures
from stemctx_core.evaluation.rows import LABEL_SETS, answers, case_table, distance, patches_of, row
from stemctx_core.evaluation.scenes import DOSES, Mode
from stemctx_core.evaluation.stages import Measured
from stemctx_core.judging.decision import Thresholds
from stemctx_core.simulation.library import shipped_library

#: Changes when the meaning of a key does.
VERSION: Final = 1
WORST_CASES: Final = 20
_HISTOGRAM_EDGES: Final = np.linspace(0, 2, 41)
_MATRIX_MODES: Final = (Mode.FRAME,)


def report(measured: Measured) -> dict[str, Any]:
    """All figures of patches, as plain numbers, lists and texts."""
    cases = case_table({dose: measured.main[Mode.FRAME, dose] for dose in DOSES})
    return {
        "about": _about(measured),
        "rows": _rows(measured),
        "ablation": [
            {"labels": labels, "dose_e_per_angstrom2": dose, "models": ablation(judged, labels)}
            for labels in LABEL_SETS
            for (mode, dose), judged in measured.main.items()
            if mode is Mode.FRAME
        ],
        "distance_to_bayes": [
            {"mode": mode.value, "labels": labels, "dose_e_per_angstrom2": dose, **distance(judged, labels)}
            for (mode, dose), judged in measured.referred.items()
            for labels in LABEL_SETS
            if patches_of(judged, labels)
        ],
        "cases": cases,
        "worst_cases": [c["case"] for c in sorted(cases, key=lambda c: c["accuracy"])[:WORST_CASES]],
        "reliability": _reliability(measured),
        "confusion": _confusion(measured),
        "entropy_histograms": _histograms(measured),
        "map_of_patches": embedding.figures(measured.places) if measured.places is not None else None,
        "generalisation": [
            {
                "condition": name,
                "dose_e_per_angstrom2": dose,
                **conditions.figures(judged, measured.unseen_referred.get((name, dose))),
            }
            for (name, dose), judged in measured.unseen.items()
        ],
        "robustness": _robustness(measured),
        "abstention": _abstention(measured),
        "prevalence": [
            {
                "dose_e_per_angstrom2": dose,
                **prevalence_figures(measured.main[Mode.FRAME, dose], Thresholds().defect),
            }
            for dose in DOSES
        ],
        "skipped": dict(measured.skipped),
        "timings": {"stage_s": dict(measured.seconds)},
    }


def _about(measured: Measured) -> dict[str, Any]:
    settings, plan = measured.settings, measured.settings.plan
    return {
        "version": VERSION,
        "run": plan.name,
        "seed": settings.seed,
        "model": measured.bundle.name,
        "model_sha256": measured.bundle.sha256,
        "library_sha256": shipped_library().sha256,
        "patches_per_dose": len(measured.main[Mode.FRAME, DOSES[0]]["label"]),
        "reference_patches_per_dose": max((len(j["label"]) for j in measured.referred.values()), default=0),
        "modes": {
            Mode.FRAME.value: "source, background, gain and ratio known as a frame of some thousand sites gives them",
            Mode.UNKNOWN.value: "source 0.35–0.55 Å and background 0–6 % known only as ranges, gain to 1 %",
        },
    }


def _rows(measured: Measured) -> list[dict[str, Any]]:
    return [
        row(judged, labels, mode, dose)
        for (mode, dose), judged in measured.main.items()
        for labels in LABEL_SETS
        if patches_of(judged, labels)
    ]


def _each_answer(measured: Measured, mode: Mode, dose: float) -> list[tuple[str, Arrays, str]]:
    found = [("scorer", measured.main[mode, dose], "learned")]
    if (mode, dose) in measured.referred:
        found.append(("bayes", measured.referred[mode, dose], "bayes"))
    return found


def _reliability(measured: Measured) -> list[dict[str, Any]]:
    listed = []
    for mode, dose in measured.main:
        for name, judged, what in _each_answer(measured, mode, dose):
            told = answers(judged, "L7", what)
            bins = metrics.reliability(told.posterior, told.label)
            listed.append(
                {
                    "mode": mode.value,
                    "dose_e_per_angstrom2": dose,
                    "who": name,
                    "confidence": [metrics.rounded(v) for v in bins.confidence],
                    "accuracy": [metrics.rounded(v) for v in bins.accuracy],
                    "share": [metrics.rounded(v) for v in bins.share],
                }
            )
    return listed


def _confusion(measured: Measured) -> list[dict[str, Any]]:
    listed = []
    for mode in _MATRIX_MODES:
        for dose in DOSES:
            for name, judged, what in _each_answer(measured, mode, dose):
                told = answers(judged, "L7", what)
                matrix = metrics.confusion(told.posterior.argmax(axis=1), told.label, len(L7))
                listed.append(
                    {
                        "mode": mode.value,
                        "dose_e_per_angstrom2": dose,
                        "who": name,
                        "roles": [r.value for r in L7],
                        "share": [[metrics.rounded(v, 4) for v in row] for row in matrix],
                    }
                )
    return listed


def _histograms(measured: Measured) -> list[dict[str, Any]]:
    listed = []
    image = PREFIX + IMAGE_ONLY
    for dose in DOSES:
        told = {
            name: metrics.entropies_nats(answers(judged, "L7", what).posterior)
            for name, judged, what in _each_answer(measured, Mode.FRAME, dose)
        }
        main = measured.main[Mode.FRAME, dose]
        if image in main:
            told["image only"] = main[image][:, 0, VIEWS.index("role"), KEPT.index("entropy")]
        for name, values in told.items():
            count, _ = np.histogram(np.clip(values, 0, _HISTOGRAM_EDGES[-1]), _HISTOGRAM_EDGES)
            listed.append(
                {
                    "dose_e_per_angstrom2": dose,
                    "who": name,
                    "edges_nats": [metrics.rounded(v, 3) for v in _HISTOGRAM_EDGES],
                    "share": [metrics.rounded(v) for v in count / max(1, len(values))],
                }
            )
    return listed


def _robustness(measured: Measured) -> list[dict[str, Any]]:
    card = None if abstention.sets_missing(measured.bundle.card) else measured.bundle.card
    return [
        {
            "library": name,
            "dose_e_per_angstrom2": dose,
            "scorer": answers(judged, "L7").figures(),
            "near_z_pairs": conditions.near_pair_figures(judged, measured.perturbed_cases[name, dose], card),
        }
        for (name, dose), judged in measured.perturbed.items()
    ]


def _abstention(measured: Measured) -> list[dict[str, Any]]:
    missing = abstention.sets_missing(measured.bundle.card)
    if missing:
        measured.skipped["prediction sets"] = missing
    rule = Thresholds().species
    listed = []
    for dose in DOSES:
        judged = measured.main[Mode.FRAME, dose]
        told: dict[str, Any] = {"dose_e_per_angstrom2": dose}
        told["scorer"] = abstention.rule_figures(judged, rule, "learned")
        told["scorer_at_98_percent"] = abstention.fitted_rule(judged, "learned")
        if (Mode.FRAME, dose) in measured.referred:
            referred = measured.referred[Mode.FRAME, dose]
            told["scorer_on_reference_patches"] = abstention.rule_figures(referred, rule, "learned")
            told["bayes"] = abstention.rule_figures(referred, rule, "bayes")
            told["bayes_at_98_percent"] = abstention.fitted_rule(referred, "bayes")
            told["coverage_less_bayes_points"] = metrics.clustered_mean(
                100.0
                * (
                    (normalised(referred["learned"]).max(axis=1) >= rule) * 1.0
                    - (normalised(referred["bayes"]).max(axis=1) >= rule)
                ),
                referred["scene"],
            ).figures()
        if not missing:
            told["prediction_sets"] = [
                abstention.set_figures(
                    judged, abstention.prediction_sets(judged, measured.bundle.card, asked), asked
                )
                for asked in abstention.SET_COVERAGES
            ]
        listed.append(told)
    return listed
