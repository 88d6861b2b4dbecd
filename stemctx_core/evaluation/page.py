"""The page of an evaluation: one HTML file made from the content of `evaluation.json` and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from stemctx_core.evaluation import plots_dose, plots_patches
from stemctx_core.evaluation.report import WORST_CASES
from stemctx_core.evaluation.scenes import Mode
from stemctx_core.look import colours, formats
from stemctx_core.look.report_page import Html, page, picture, power, table, tag, text, tile

_MINUS: Final = "\u2212"
Told = dict[str, Any]


def report_page(told: Told) -> str:
    """The whole page."""
    about = told["about"]
    sections: list[Any] = [
        _header(about),
        _tiles(told),
        *_warnings(told),
        _demands(told),
        _section(
            "Accuracy and entropy by dose",
            "Balanced roles. The Bayes curve is the exact posterior of what each mode knows; near-Z cases are those whose "
            "dopant stands within five places of the host's metal in the periodic table.",
            (plots_dose.curves, told), _rows(told),
        ),
        _section(
            "Distance to the Bayes limit",
            "The scorer and the reference on the same patches. A reference is right where its mean entropy agrees with its own "
            "negative log likelihood; the last column is their difference in standard errors.",
            *([(plots_dose.distances, told), _distances(told)] if told["distance_to_bayes"] else [_skipped(told, "Bayes reference")]),
        ),
        _section(
            "What each piece of information buys",
            "An ideal observer reads energy, detector and host out of the image; most of what context buys is the candidate "
            "list. The cut is (H_image − H)/H_image with both entropies printed.",
            (plots_dose.information, told), _ablation(told),
        ),
        _section("Calibration", "Lower panels: how many patches have that confidence.", (plots_patches.reliability, told)),
        _section("Confusion", "Percent of the patches of each true role; frame-calibrated.", (plots_patches.confusion, told)),
        _section("Posterior entropy", "Of single patches, by role; the last bin holds all above.", (plots_patches.entropies, told)),
        _section(
            "Cases", "Percent right among seven roles, mean over three energies and two detectors.",
            (plots_patches.cases, told), _worst(told),
        ),
        _map(told),
        _section(
            "Conditions that nothing was trained on",
            "Hosts, dopants, energies, detectors and convergence angles that no model has seen, named as candidates.",
            *([(plots_dose.unseen, told)] if told["generalisation"] else []), _left_out(told),
        ),
        _section(
            "A library that is wrong",
            "Patches rendered with responses that the scorer's library does not have; near-Z and far-Z cases in equal parts. "
            "A confident error names the wrong one of a near-Z pair with 90 % or more.",
            _robustness(told),
        ),
        _section(
            "Abstention",
            "Solid: the scorer. Dashed: the Bayes posterior's own. A dot is the decision rule.",
            (plots_patches.abstention, told), _abstention(told),
        ),
        _section(
            "At real prevalence",
            "Dopants and oxygen 1 %, vacancies 3 %, divacancies and metal vacancies 0.3 % of the sites of their sublattice.",
            (plots_patches.precision, told), _prevalence(told),
        ),
        _section("The wrong host declared", "Whole frames, from intensities to flags.", _wrong_host(told)),
        _section("Speed", "Measured in this run, same patches, same process.", _speed(told)),
        tag("footer", "Made by ", tag("code", "stemctx evaluate"), "; every number of this page is in ", tag("code", "evaluation.json"), "."),
    ]  # fmt: skip
    return page("Evaluation of the classifier", [s for s in sections if s])


def number(figure: dict[str, float | None] | None, digits: int = 4, times: float = 1.0) -> str:
    """A value with its standard error."""
    if not figure or figure["value"] is None:
        return "–"
    value = f"{times * figure['value']:.{digits}f}".replace("-", _MINUS)
    error = figure["se"]
    return value if error is None else f"{value} ± {times * error:.{digits}f}"


def _section(title: str, words: str, *parts: Any) -> Html:
    shown = []
    for part in parts:
        if isinstance(part, tuple):
            draw, told = part
            shown.append(_drawn(draw, told, title))
        elif part:
            shown.append(part)
    return tag("section", tag("h2", title), tag("p", words, class_="caption"), *shown)


def _drawn(draw: Callable[[Told], bytes], told: Told, alt: str) -> Html:
    return tag("figure", picture(draw(told), alt), class_="wide")


def _folded(words: str, content: Html) -> Html:
    return tag("details", tag("summary", words), content)


def _header(about: Told) -> Html:
    words = (
        f"Model {about['model']} · library {about['library_sha256'][:12]} · seed {about['seed']} · {about['run']} run, "
        f"{about['patches_per_dose']} patches a dose and mode, {about['reference_patches_per_dose']} of them with the Bayes reference"
    )
    return tag("header", tag("h1", "Evaluation of the classifier"), tag("p", words, class_="soft"))


def _tiles(told: Told) -> Html:
    def row(labels: str, dose: float) -> Any:
        return next(
            r["scorer"]
            for r in told["rows"]
            if r["labels"] == labels and r["mode"] == Mode.FRAME and r["dose_e_per_angstrom2"] == dose
        )

    demands = told["must_show"]
    met = sum(d["met"] is True for d in demands)
    missed = sum(d["met"] is False for d in demands)
    unmeasured = sum(d["met"] is None and d["target"] != "printed" for d in demands)
    rate = told["timings"]["speed"]["ways"]["scorer, ONNX Runtime, batched"]["patches_per_s"]
    shown = [
        tile(f"{met} of {met + missed}", "met", f"demanded figures; {unmeasured} more not measured"),
        tile(f"{row('L7', 1e4)['accuracy']['value']:.3f}", "at 10⁴ e/Å²", "accuracy, seven roles"),
        tile(f"{row('L5 far-Z', 1e5)['accuracy']['value']:.4f}", "at 10⁵ e/Å²", "accuracy, five roles, far-Z"),
        tile(power(rate), "patches/s", "ONNX Runtime, 2 threads"),
    ]
    return tag("div", *shown, class_="tiles")


def _warnings(told: Told) -> list[Html]:
    words = []
    if told["about"]["run"] == "quick":
        words.append("A quick run: it shows that everything works, its figures are not to be quoted.")
    words += [
        f"Not measured, {name}: {reason}."
        for name, reason in told["skipped"].items()
        if not name.startswith("unseen")
    ]
    return [tag("p", w, class_="told") for w in words]  # fmt: skip


def _skipped(told: Told, name: str) -> Html:
    return tag("p", f"Not measured: {told['skipped'].get(name, 'no reason known')}.", class_="told")


def _demands(told: Told) -> Html:
    rows, last = [], ""
    marks = {True: ("met", colours.MET), False: ("missed", colours.MISSED), None: ("–", colours.SOFT)}
    for d in told["must_show"]:
        words, colour = marks[d["met"]]
        mark = Html(f'<b style="color:{colour}">{text(words)}</b>')
        line = tag("b", d["line"]) if d["line"] != last else ""
        last = d["line"]
        figure = d["measured"]
        digits = _digits(figure)
        rows.append((line, d["what"], d["target"], number(figure, digits), mark, d["note"]))
    heads = ("demand", "where", "target|", "measured ± s.e.>", "|", "beside it")
    return _section(
        "What was demanded",
        "Standard errors are of scenes, since several patches share one. A line is met or missed by its point estimate.",
        table(heads, rows, small=True),
    )


def _digits(figure: dict[str, float | None] | None) -> int:
    """Decimals that a figure of its size needs."""
    size = abs(figure["value"] or 0.0) if figure else 0.0
    return 0 if size >= 1000 else 1 if size >= 10 else 4


def _rows(told: Told) -> Html:
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


def _distances(told: Told) -> Html:
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


def _ablation(told: Told) -> Html:
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
        "" if "models with less context" not in told["skipped"] else _skipped(told, "models with less context")
    )
    return tag("div", note, _folded("All rows", table(heads, rows, small=True)))


def _worst(told: Told) -> Html:
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


def _map(told: Told) -> Html:
    words = "UMAP of the whitened residuals of all seven candidates, 10⁵ e/Å², frame-calibrated."
    if told["map_of_patches"] is None:
        return _section("Map of patches", words, _skipped(told, "map of patches"))
    return _section("Map of patches", words, (plots_patches.patch_map, told))


def _left_out(told: Told) -> Html | None:
    rows = [(name, reason) for name, reason in told["skipped"].items() if name.startswith("unseen")]
    return table(("left out|", "reason"), rows, small=True) if rows else None


def _robustness(told: Told) -> Html:
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


def _abstention(told: Told) -> Html:
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


def _prevalence(told: Told) -> Html:
    heads = ("dose>", "role|", "precision>", "recall>", "average precision>")
    rows = [
        (formats.number(e["dose_e_per_angstrom2"]), role, number(f["precision"], 3), number(f["recall"], 3), f"{f['average_precision'] or 0:.3f}")
        for e in told["prevalence"]
        for role, f in e["roles"].items()
    ]  # fmt: skip
    return _folded("Precision and recall at the flagging threshold", table(heads, rows, small=True))


def _wrong_host(told: Told) -> Html:
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


def _speed(told: Told) -> Html:
    heads = ("way", "patches/s>", "slowest>", "fastest>", "ms for 8 600 sites>")
    rows = [
        (name, power(r["patches_per_s"], 3), power(r["slowest_patches_per_s"], 3), power(r["fastest_patches_per_s"], 3), f"{r['ms_for_8600_patches']:g}")
        for name, r in told["timings"]["speed"]["ways"].items()
    ]  # fmt: skip
    return table(heads, rows)
