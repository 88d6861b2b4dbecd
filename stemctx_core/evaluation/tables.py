"""The tables of an evaluation's page, each from its part of `evaluation.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stemctx_core.evaluation.report import WORST_CASES
from stemctx_core.look import formats
from stemctx_core.look.report_page import Html, power, table, tag

_MINUS: Final = "\u2212"
Told = dict[str, Any]


def number(figure: dict[str, float | None] | None, digits: int = 4, times: float = 1.0) -> str:
    """A value with its standard error."""
    if not figure or figure["value"] is None:
        return "–"
    value = f"{times * figure['value']:.{digits}f}".replace("-", _MINUS)
    error = figure["se"]
    return value if error is None else f"{value} ± {times * error:.{digits}f}"


def digits_of(figure: dict[str, float | None] | None) -> int:
    """Decimals that a figure of its size needs."""
    size = abs(figure["value"] or 0.0) if figure else 0.0
    return 0 if size >= 1000 else 1 if size >= 10 else 4


def not_measured(told: Told, name: str) -> Html:
    """A line with the reason why something was not measured."""
    return tag("p", f"Not measured: {told['skipped'].get(name, 'no reason known')}.", class_="told")


def all_rows(told: Told) -> Html:
    """Accuracy, entropy and calibration of every label set, mode and dose."""
    heads = ("labels|", "mode|", "dose>", "patches>", "accuracy>", "entropy (nats)>", "NLL (nats)>", "ECE>", "predictions alone>")  # fmt: skip
    rows = [
        (
            r["labels"], r["mode"], formats.number(r["dose_e_per_angstrom2"]), r["scorer"]["patches"],
            *(number(r["scorer"][k]) for k in ("accuracy", "entropy_nats", "negative_log_likelihood", "calibration_error")),
            number(r["predictions_alone"]["accuracy"]),
        )
        for r in told["rows"]
    ]  # fmt: skip
    return _folded("All rows", table(heads, rows, small=True))


def distances(told: Told) -> Html:
    """The scorer beside the Bayes reference."""
    heads = (
        "labels|", "mode|", "dose>", "patches>", "scorer>", "Bayes>", "points below>", "divergence (nats)>",
        "Bayes entropy>", "Bayes NLL>", "differ, s.e.>",
    )  # fmt: skip
    rows = []
    for d in told["distance_to_bayes"]:
        excess = d["bayes_entropy_less_surprise_nats"]
        sigmas = "–" if not excess["se"] else f"{excess['value'] / excess['se']:.1f}".replace("-", _MINUS)
        rows.append(
            (
                d["labels"], d["mode"], formats.number(d["dose_e_per_angstrom2"]), d["patches"],
                number(d["scorer"]["accuracy"]), number(d["bayes"]["accuracy"]), number(d["gap_points"], 2),
                number(d["divergence_nats"]), number(d["bayes"]["entropy_nats"]),
                number(d["bayes"]["negative_log_likelihood"]), sigmas,
            )
        )  # fmt: skip
    return _folded("All rows", table(heads, rows, small=True))


def ablation(told: Told) -> Html:
    """Models that are told less."""
    heads = ("labels|", "dose>", "told|", "accuracy, role>", "species>", "entropy, role>", "species>", "cut, role>", "species>")  # fmt: skip
    rows = []
    for entry in told["ablation"]:
        for m in entry["models"]:
            role, species = m["role"], m["species"]
            rows.append(
                (
                    entry["labels"], formats.number(entry["dose_e_per_angstrom2"]), m["model"],
                    *(number(v["accuracy"]) for v in (role, species)),
                    *(number(v["entropy_nats"]) for v in (role, species)),
                    *(number(v.get("entropy_cut"), 3) for v in (role, species)),
                )
            )  # fmt: skip
    note = (
        ""
        if "models with less context" not in told["skipped"]
        else not_measured(told, "models with less context")
    )
    return tag("div", note, _folded("All rows", table(heads, rows, small=True)))


def worst(told: Told) -> Html:
    """The hardest cases, dose by dose."""
    worst = sorted(told["cases"], key=lambda c: c["accuracy"])[:WORST_CASES]
    doses = list(worst[0]["doses"])
    heads = ("case", *(f"{formats.number(float(d))}>" for d in doses), "mean>", "confused most often")
    rows = [
        (
            c["case"],
            *(f"{c['doses'][d]['accuracy']:.2f}" for d in doses),
            f"{c['accuracy']:.3f}",
            c["confused"],
        )
        for c in worst
    ]
    words = f"The {len(worst)} hardest of {len(told['cases'])} cases, accuracy by dose (e/Å²)"
    return tag("div", tag("h3", words), table(heads, rows, small=True))


def left_out(told: Told) -> Html | None:
    """Conditions that could not be measured, with the reason."""
    rows = [(name, reason) for name, reason in told["skipped"].items() if name.startswith("unseen")]
    return table(("left out|", "reason"), rows, small=True) if rows else None


def robustness(told: Told) -> Html:
    """Libraries that are wrong."""
    heads = ("library|", "dose>", "accuracy>", "entropy (nats)>", "ECE>", "near-Z confident errors>", "both in set>", "truth in set>")  # fmt: skip
    rows = [
        (
            r["library"], formats.number(r["dose_e_per_angstrom2"]), number(r["scorer"]["accuracy"]),
            number(r["scorer"]["entropy_nats"]), number(r["scorer"]["calibration_error"]),
            *(number(r["near_z_pairs"].get(k), 3) for k in ("confident_errors", "both_in_set", "truth_in_set")),
        )
        for r in told["robustness"]
    ]  # fmt: skip
    return table(heads, rows, small=True)


def abstention(told: Told) -> Html:
    """What is answered, how well, and prediction sets."""
    heads = ("dose>", "who|", "from p>", "answered>", "accuracy>")
    rows: list[Sequence[Any]] = []
    for entry in told["abstention"]:
        for key, words in (
            ("scorer", "scorer, decision rule"),
            ("bayes", "Bayes, same rule"),
            ("scorer_at_98_percent", "scorer, threshold for 98 % from other scenes"),
            ("bayes_at_98_percent", "Bayes, threshold for 98 % from other scenes"),
        ):
            if entry.get(key):
                e = entry[key]
                rows.append(
                    (formats.number(entry["dose_e_per_angstrom2"]), words, f"{e['answered_from_probability']:.3f}", number(e["coverage"]), number(e["accuracy"]))
                )  # fmt: skip
    parts = [table(heads, rows, small=True)]
    sets = [
        (
            formats.number(entry["dose_e_per_angstrom2"]), f"{s['asked_coverage']:.0%}", number(s["coverage"]), number(s["mean_size"], 3),
            number(s["single"]), number(s["accuracy_of_single"]),
        )
        for entry in told["abstention"]
        for s in entry.get("prediction_sets", [])
    ]  # fmt: skip
    if sets:
        set_heads = ("dose>", "asked>", "truth in set>", "mean size>", "single>", "accuracy of single>")
        parts += [tag("h3", "Prediction sets"), table(set_heads, sets, small=True)]
    return tag("div", *parts)


def prevalence(told: Told) -> Html:
    """Precision and recall of each role in a real crystal."""
    heads = ("dose>", "role|", "precision>", "recall>", "average precision>")
    rows = [
        (formats.number(e["dose_e_per_angstrom2"]), role, number(f["precision"], 3), number(f["recall"], 3), f"{f['average_precision'] or 0:.3f}")
        for e in told["prevalence"]
        for role, f in e["roles"].items()
    ]  # fmt: skip
    return _folded("Precision and recall at the flagging threshold", table(heads, rows, small=True))


def wrong_host(told: Told) -> Html:
    """Frames judged with the wrong host, and with the right one."""
    heads = ("declared|", "frames>", "refused or abstained>", "refused>", "warned>", "sites abstained>", "sites flagged>")  # fmt: skip
    rows = []
    for key, words in (("wrong_host", "wrong host"), ("right_host", "right host")):
        e = told["wrong_host"][key]
        rows.append(
            (
                words, e["frames"], number(e["refused_or_abstained"], 3), number(e["refused"], 3), number(e["warned"], 3),
                f"{e['mean_share_of_sites_abstained']:.3f}", f"{e['mean_share_of_sites_flagged']:.3f}",
            )
        )  # fmt: skip
    through = told["wrong_host"]["answered_all_the_same"]
    listed = (
        _folded(f"Frames answered all the same ({len(through)})", tag("pre", "\n".join(through)))
        if through
        else ""
    )
    return tag("div", table(heads, rows, small=True), listed)


def speed(told: Told) -> Html:
    """Patches per second of each way."""
    heads = ("way", "patches/s>", "slowest>", "fastest>", "ms for 8 600 sites>")
    rows = [
        (name, power(r["patches_per_s"], 3), power(r["slowest_patches_per_s"], 3), power(r["fastest_patches_per_s"], 3), f"{r['ms_for_8600_patches']:g}")
        for name, r in told["timings"]["speed"]["ways"].items()
    ]  # fmt: skip
    return table(heads, rows)


def _folded(words: str, content: Html) -> Html:
    return tag("details", tag("summary", words), content)
