"""The figures that are demanded of the classifier, each with its target, what was measured, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from stemctx_core.evaluation.ablation import SCORER
from stemctx_core.evaluation.conditions import HONESTLY_TOLD, SET_COVERAGE
from stemctx_core.evaluation.scenes import Mode
from stemctx_core.look import formats

Figure = dict[str, float | None]
_NO_REFERENCE: Final = "the Bayes reference"
_NO_MODELS: Final = "models with less context"
_NO_SETS: Final = "prediction sets"
SPEED_PATCHES_PER_S: Final = 100_000


@dataclass(frozen=True)
class Demand:
    """One demanded figure.

    Attributes
    ----------
    line
        Which demand it belongs to.
    what
        Where it is measured.
    target
        In words, with its unit.
    at_least, at_most
        The same as numbers; neither where a figure is only to be printed.
    measured
        Value and standard error, or None where it was not measured.
    note
        Further values, or the reason why nothing was measured.
    """

    line: str
    what: str
    target: str
    measured: Figure | None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the measured value reaches the target; None where there is no value or no target."""
        value = self.measured["value"] if self.measured else None
        if value is None or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def figures(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "line": self.line,
            "what": self.what,
            "target": self.target,
            "measured": self.measured,
            "met": self.met,
            "note": self.note,
        }


def must_show(told: dict[str, Any]) -> list[dict[str, Any]]:
    """All demands, measured from the content of the JSON."""
    parts = (
        _far_z(told), _near_bayes(told), _calibration(told), _abstention(told), _unseen(told),
        _wrong_library(told), _wrong_host(told), _speed(told),
    )  # fmt: skip
    return [demand.figures() for part in parts for demand in part]


def _far_z(told: dict[str, Any]) -> Iterator[Demand]:
    line = "L5, far-Z, 10⁵ e/Å², species"
    models = next(
        r["models"] for r in told["ablation"] if r["labels"] == "L5 far-Z" and r["dose_e_per_angstrom2"] == 1e5
    )
    scorer = next(m for m in models if m["model"] == SCORER)["species"]
    yield Demand(line, "accuracy", "≥ 0.993", scorer["accuracy"], at_least=0.993)
    cut, note = scorer.get("entropy_cut"), ""
    if cut is not None:
        before, after = scorer["image_entropy_nats"]["value"], scorer["entropy_nats"]["value"]
        note = f"entropy {before:.4f} nats from the image alone, {after:.4f} with full context"
    else:
        after = scorer["entropy_nats"]["value"]
        note = f"not measured without {_NO_MODELS}; entropy with full context {after:.4f} nats"
    yield Demand(line, "entropy cut", "≥ 0.945", cut, at_least=0.945, note=note)


def _near_bayes(told: dict[str, Any]) -> Iterator[Demand]:
    found = {(d["mode"], d["labels"], d["dose_e_per_angstrom2"]): d for d in told["distance_to_bayes"]}

    def gap(line: str, mode: Mode, labels: str, dose: float, limit: float) -> Demand:
        entry = found.get((mode.value, labels, dose))
        note = ""
        if entry:
            ours, bayes = (entry[k]["accuracy"]["value"] for k in ("scorer", "bayes"))
            entropy, surprise = (
                entry["bayes"][k]["value"] for k in ("entropy_nats", "negative_log_likelihood")
            )
            note = (
                f"{entry['patches']} patches; Bayes {bayes:.4f}, scorer {ours:.4f}; "
                f"Bayes entropy {entropy:.4f}, NLL {surprise:.4f} nats"
            )
        return Demand(
            line, f"points below Bayes, {formats.dose(dose)}", f"≤ {limit:g}",
            entry["gap_points"] if entry else None, at_most=limit, note=note or f"not measured without {_NO_REFERENCE}",
        )  # fmt: skip

    line = "L5, all 576, nuisances known from the frame"
    for dose in (1e4, 1e5):
        yield gap(line, Mode.FRAME, "L5", dose, 0.5)
    line = "L7, all 576, nuisances known from the frame"
    for dose in (1e3, 1e4, 1e5, 1e6):
        yield gap(line, Mode.FRAME, "L7", dose, 1.0)
    yield _mean_gap(line, [found.get((Mode.FRAME.value, "L7", dose)) for dose in (1e3, 1e4, 1e5, 1e6)])
    for dose in (1e3, 1e4, 1e5, 1e6):
        entry = found.get((Mode.FRAME.value, "L7", dose))
        limit = 0.02 if dose == 1e3 else 0.015
        yield Demand(
            line, f"mean divergence from Bayes (nats), {formats.dose(dose)}", f"≤ {limit:g}",
            entry["divergence_nats"] if entry else None, at_most=limit,
            note="" if entry else f"not measured without {_NO_REFERENCE}",
        )  # fmt: skip
    line = "L7, nuisances unknown per patch"
    for dose, limit in ((1e3, 1.5), (1e4, 1.5), (1e5, 1.0), (1e6, 1.0)):
        yield gap(line, Mode.UNKNOWN, "L7", dose, limit)


def _mean_gap(line: str, entries: list[Any]) -> Demand:
    gaps = [e["gap_points"] for e in entries if e]
    mean: Figure | None = None
    if len(gaps) == len(entries):
        errors = [g["se"] for g in gaps]
        error = None if None in errors else round(sum(e**2 for e in errors) ** 0.5 / len(gaps), 5)
        mean = {"value": round(sum(g["value"] for g in gaps) / len(gaps), 5), "se": error}
    note = "" if mean else f"not measured without {_NO_REFERENCE}"
    return Demand(line, "points below Bayes, mean of the four", "≤ 0.5", mean, at_most=0.5, note=note)


def _calibration(told: dict[str, Any]) -> Iterator[Demand]:
    for row in told["rows"]:
        if row["labels"] == "L7":
            figure = row["scorer"]["calibration_error"]
            where = f"expected calibration error, {row['mode']}, {formats.dose(row['dose_e_per_angstrom2'])}"
            yield Demand("calibration", where, "≤ 0.01", figure, at_most=0.01)


def _abstention(told: dict[str, Any]) -> Iterator[Demand]:
    line = "abstention, L7, 10⁴ e/Å²"
    entry = next(a for a in told["abstention"] if a["dose_e_per_angstrom2"] == 1e4)
    rule = entry["scorer"]
    note = (
        f"answered from p = {rule['answered_from_probability']:g}: {rule['coverage']['value']:.1%} of patches"
    )
    yield Demand(line, "accuracy of what is answered", "≥ 0.98", rule["accuracy"], at_least=0.98, note=note)
    gap = entry.get("coverage_less_bayes_points")
    yield Demand(
        line, "coverage less that of the Bayes rule (points)", "−3 to 3", gap, at_least=-3.0, at_most=3.0,
        note="same rule on the same patches" if gap else f"not measured without {_NO_REFERENCE}",
    )  # fmt: skip


def _unseen(told: dict[str, Any]) -> Iterator[Demand]:
    line = "unseen, named as candidates"
    measured = set()
    for entry in told["generalisation"]:
        name, dose = entry["condition"], entry["dose_e_per_angstrom2"]
        measured.add(name)
        demanded = name.startswith(("unseen dopants", "unseen detector"))
        near = entry.get("distance_to_bayes")
        note = f"accuracy {entry['scorer']['accuracy']['value']:.4f}"
        if name in told["skipped"]:
            note += f"; left out: {told['skipped'][name]}"
        yield Demand(
            line, f"{name}: points below Bayes, {formats.dose(dose)}", "≤ 2" if demanded else "printed",
            near["gap_points"] if near else None, at_most=2.0 if demanded else None,
            note=note if near else f"{note}; not measured without {_NO_REFERENCE}",
        )  # fmt: skip
    for name, reason in told["skipped"].items():
        if name.startswith("unseen") and name not in measured:
            demanded = name.startswith(("unseen dopants", "unseen detector"))
            yield Demand(line, name, "≤ 2" if demanded else "printed", None, note=f"not measured: {reason}")


def _wrong_library(told: dict[str, Any]) -> Iterator[Demand]:
    for entry in told["robustness"]:
        if entry["library"] not in HONESTLY_TOLD:
            continue
        where = f"{entry['library']}, {formats.dose(entry['dose_e_per_angstrom2'])}"
        line, pairs = "a library that is off", entry["near_z_pairs"]
        figure = entry["scorer"]["calibration_error"]
        yield Demand(line, f"expected calibration error, {where}", "≤ 0.02", figure, at_most=0.02)
        both = pairs.get("both_in_set")
        note = f"not measured without {_NO_SETS}"
        if both:
            note = f"both of the pair in {both['value']:.1%} of sets"
        yield Demand(
            line, f"near-Z pairs: sets that hold the truth, {where}", f"≥ {SET_COVERAGE:g}",
            pairs.get("truth_in_set"), at_least=SET_COVERAGE, note=note,
        )  # fmt: skip


def _wrong_host(told: dict[str, Any]) -> Iterator[Demand]:
    entry = told["wrong_host"]["wrong_host"]
    right = told["wrong_host"]["right_host"]["refused_or_abstained"]["value"]
    note = f"{entry['frames']} frames; with the right host {right:.1%} of frames are refused or abstained from"
    yield Demand(
        "wrong host given", "share of frames refused or abstained from", "≥ 0.95",
        entry["refused_or_abstained"], at_least=0.95, note=note,
    )  # fmt: skip


def _speed(told: dict[str, Any]) -> Iterator[Demand]:
    speed = told["timings"]["speed"]
    rate = speed["ways"]["scorer, ONNX Runtime, batched"]
    line = f"speed, ONNX Runtime, {speed['threads']} threads, features computed"
    note = f"{rate['slowest_patches_per_s']} to {rate['fastest_patches_per_s']} in this run"
    measured: Figure = {"value": rate["patches_per_s"], "se": None}
    yield Demand(line, "patches/s", "≥ 100 000", measured, at_least=SPEED_PATCHES_PER_S, note=note)
    measured = {"value": rate["ms_for_8600_patches"], "se": None}
    yield Demand(line, "ms for 8 600 sites", "< 100", measured, at_most=100.0)
