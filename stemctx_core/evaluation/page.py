"""The page of an evaluation: one HTML file made from the content of `evaluation.json` and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stemctx_core.evaluation import plots_dose, plots_patches, tables
from stemctx_core.evaluation.scenes import Mode
from stemctx_core.evaluation.tables import Told, digits_of, not_measured, number
from stemctx_core.look import colours
from stemctx_core.look.report_page import Html, page, picture, power, table, tag, text, tile


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
            (plots_dose.curves, told), tables.all_rows(told),
        ),
        _section(
            "Distance to the Bayes limit",
            "The scorer and the reference on the same patches. A reference is right where its mean entropy agrees with its own "
            "negative log likelihood; the last column is their difference in standard errors.",
            *([(plots_dose.distances, told), tables.distances(told)] if told["distance_to_bayes"] else [not_measured(told, "Bayes reference")]),
        ),
        _section(
            "What each piece of information buys",
            "An ideal observer reads energy, detector and host out of the image; most of what context buys is the candidate "
            "list. The cut is (H_image − H)/H_image with both entropies printed.",
            (plots_dose.information, told), tables.ablation(told),
        ),
        _section("Calibration", "Lower panels: how many patches have that confidence.", (plots_patches.reliability, told)),
        _section("Confusion", "Percent of the patches of each true role; frame-calibrated.", (plots_patches.confusion, told)),
        _section("Posterior entropy", "Of single patches, by role; the last bin holds all above.", (plots_patches.entropies, told)),
        _section(
            "Cases", "Percent right among seven roles, mean over three energies and two detectors.",
            (plots_patches.cases, told), tables.worst(told),
        ),
        _map(told),
        _section(
            "Conditions that nothing was trained on",
            "Hosts, dopants, energies, detectors and convergence angles that no model has seen, named as candidates.",
            *([(plots_dose.unseen, told)] if told["generalisation"] else []), tables.left_out(told),
        ),
        _section(
            "A library that is wrong",
            "Patches rendered with responses that the scorer's library does not have; near-Z and far-Z cases in equal parts. "
            "A confident error names the wrong one of a near-Z pair with 90 % or more.",
            tables.robustness(told),
        ),
        _section(
            "Abstention",
            "Solid: the scorer. Dashed: the Bayes posterior's own. A dot is the decision rule.",
            (plots_patches.abstention, told), tables.abstention(told),
        ),
        _section(
            "At real prevalence",
            "Dopants and oxygen 1 %, vacancies 3 %, divacancies and metal vacancies 0.3 % of the sites of their sublattice.",
            (plots_patches.precision, told), tables.prevalence(told),
        ),
        _section("The wrong host declared", "Whole frames, from intensities to flags.", tables.wrong_host(told)),
        _section("Speed", "Measured in this run, same patches, same process.", tables.speed(told)),
        tag("footer", "Made by ", tag("code", "stemctx evaluate"), "; every number of this page is in ", tag("code", "evaluation.json"), "."),
    ]  # fmt: skip
    return page("Evaluation of the classifier", [s for s in sections if s])


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


def _demands(told: Told) -> Html:
    rows, last = [], ""
    marks = {True: ("met", colours.MET), False: ("missed", colours.MISSED), None: ("–", colours.SOFT)}
    for d in told["must_show"]:
        words, colour = marks[d["met"]]
        mark = Html(f'<b style="color:{colour}">{text(words)}</b>')
        line = tag("b", d["line"]) if d["line"] != last else ""
        last = d["line"]
        figure = d["measured"]
        digits = digits_of(figure)
        rows.append((line, d["what"], d["target"], number(figure, digits), mark, d["note"]))
    heads = ("demand", "where", "target|", "measured ± s.e.>", "|", "beside it")
    return _section(
        "What was demanded",
        "Standard errors are of scenes, since several patches share one. A line is met or missed by its point estimate.",
        table(heads, rows, small=True),
    )


def _map(told: Told) -> Html:
    words = "UMAP of the whitened residuals of all seven candidates, 10⁵ e/Å², frame-calibrated."
    if told["map_of_patches"] is None:
        return _section("Map of patches", words, not_measured(told, "map of patches"))
    return _section("Map of patches", words, (plots_patches.patch_map, told))
