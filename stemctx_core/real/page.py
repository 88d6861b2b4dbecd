"""The page `docs/real_images.md`, from the figures."""

from __future__ import annotations

from typing import Any

from stemctx_core.look import markdown
from stemctx_core.real.pictures import OVERLAYS, PLANE

_HEAD = """# Real micrographs

Remade by `stemctx real ../shared/data/real --output docs`, where one has the frames; they are not part of the project.
The Ti:WSe2 frame (80 kV, two detectors at once, angles not recorded) has labels, which its authors made from the image
itself by clustering that an expert guided: these figures are agreement with that, not with chemistry. No label is used
for judging, and the detector angles are left unknown unless it says otherwise. "live" is what a running scan is judged
by; "thorough" (`stemctx analyze --thorough`) solves for all columns of the frame at once.
Intervals are 95 %, from drawing squares of the frame anew. A site is not judged in contamination, in a hole, or where it
is like nothing known; F1 is given with such sites left out, and with their vacancies counted as misses.
"""

_HOW = """## What moves the figures
- **Angles.** ADF1 declared as 50-120 mrad should have an X2/M of 1.03, and has 0.87: those angles are wrong, and with
  them a vacancy is expected to be fainter than it is, so that vacancies are named oxygen. Where declared angles do not
  give the frame's own X2/M (beyond 12 %), and where none are known, candidates are averaged over the ridge of angles that
  give it. What a vacancy looks like is nearly the same all along that ridge.
- **Amplitudes.** With one detector a posterior is nearly a monotone function of one amplitude, and ranks no better than
  that does. All columns solved at once, on a smooth background and with a source fitted to the image, give a better
  amplitude than a site's own neighbourhood does; this, and not the network, is what "thorough" judges by.
- **Spread.** Candidates are taken to scatter as the frame's own host columns do, on several detectors together with the
  correlation that they have, and the simulation is taken to be off by 0.06 of the host's column.
- **Naming.** On ADF1 the amplitudes of vac_Se and O_Se differ by less than the spread: a flag there is named as the set
  of both, and their rates are estimated together.
- **What is missed.** On ADF2 alone vac_Se falls 0.01 short of the F1 that was demanded, less than its interval: ten
  labelled vacancies are named O_Se, and of the Se2 that are named vac_Se most lie between the two.
"""


def page(told: dict[str, Any]) -> str:
    """Markdown of the page; ``must_show`` and the figures of `measuring` are in `told`."""
    runs = told["ti_wse2"]
    parts = [
        _HEAD,
        f"Model: {told['model']}.\n",
        "## What was demanded\n",
        _table(
            ("demand", "target", "measured", "met"),
            [
                (r["what"], r["target"], r["measured"], "yes" if r["met"] else "**no**")
                for r in told["must_show"]
            ],
        ),
        "## Selenium vacancies in Ti:WSe2\n",
        _table(
            (
                "run",
                "precision",
                "recall",
                "F1",
                "F1, not judged = missed",
                "average precision",
                "as vac_Se or O_Se: F1",
            ),
            [
                (
                    name,
                    *(_figure(f["vac_Se"][k]) for k in ("precision", "recall", "f1")),
                    _figure(f["vac_Se_all_sites"]["f1"]),
                    _figure(f["vac_Se"]["average_precision"]),
                    _figure(f["vac_Se_or_O_Se"]["f1"]),
                )
                for name, f in runs.items()
            ],
        ),
        _table(
            (
                "run",
                "labels found",
                "judged",
                "decided at P ≥ 0.9",
                "of all sites",
                "F1 at those",
                "dopants told",
            ),
            [
                (
                    name,
                    f"{f['found']:.2%}",
                    f"{f['judged']:.1%}",
                    f"{f['decided']:.1%}",
                    f"{f['decided_of_all']:.1%}",
                    _figure(f["vac_Se_decided"]["f1"]),
                    f"{f['dopants_told']} of {f['metal_sites']}",
                )
                for name, f in runs.items()
            ],
        ),
        "Cohen's kappa of each role against all others, and of all roles together:\n",
        _table(
            ("run", "all", *(_kappa_roles(runs))),
            [
                (name, _number(f["kappa"]), *(_number(f["kappa_by_role"].get(r)) for r in _kappa_roles(runs)))
                for name, f in runs.items()
            ],
        ),
        *(_confusion(name, runs[name]) for name in runs if "thorough" in name),
        *(f"![{run}](images/{name})\n" for run, name in OVERLAYS.items() if run in runs),
        _third(told["third_population"]),
        _prevalence(told["prevalence"]),
        "## Other frames, and wrong contexts\n",
        *(_frame(name, f) for name, f in told["frames"].items()),
        *(f"![{run}](images/{name})\n" for run, name in OVERLAYS.items() if run not in runs),
        _HOW,
    ]
    return "\n".join(parts).rstrip() + "\n"


def _third(third: dict[str, Any]) -> str:
    said = ", ".join(f"{name} {count}" for name, count in third["said"].items())
    mean = ", ".join(f"{name} {p:.2f}" for name, p in third["mean_probability"].items() if p >= 0.005)
    y, x = third["centre"]
    return (
        "## The third population\n\n"
        f"In the plane of both detectors' amplitudes a group of sites lies about ({y}, {x}) of Se2, where the simulation "
        "has Se with O. The labels call most of it Se2. A light atom on the vacancy is favoured, not proven, and O, N and "
        f"C cannot be told apart. Of {third['sites']} sites within {third['half_width']} of it, "
        f"{third['vac_Se_or_O_Se_above_half']} have more than half of the probability on vac_Se or O_Se, and "
        f"{third['as_o_or_as_both']} are reported as O_Se or as the set of both: {said}; mean "
        f"probability {mean}.\n\n![amplitudes on both detectors](images/{PLANE})\n"
    )


def _prevalence(p: dict[str, Any]) -> str:
    rows = [(name, f"{p['default'][name]:.3%}", f"{p['estimated'][name]:.3%}") for name in p["default"]]
    return (
        "## Prevalence\n\n"
        "`--prevalence vac_Se=0.03` sets the prior, `--estimate-prevalence` finds it from the image; each row of the table "
        "then has the probability with the default and with an even prior beside it. Both detectors, live:\n\n"
        + _table(("species", "default", "estimated"), rows)
        + f"\n{' '.join(p['words'])} Decisions that this changes: {p['decisions_changed']}.\n"
    )


def _frame(name: str, f: dict[str, Any]) -> str:
    if f["refusal"]:
        return f"**{name}**: refused. {f['refusal']}\n"
    flags = ", ".join(f"{s} {n}" for s, n in f["flags"].items()) or "none"
    reasons = "\n".join(f"- {n} sites: {reason}" for reason, n in f["reasons"].items())
    notes = "\n".join(f"- {w}" for w in f["warnings"])
    return f"**{name}**: {f['sites']} sites; flags: {flags}.\n\nNot decided:\n{reasons}\n\nTold of the frame:\n{notes}\n"


def _confusion(name: str, f: dict[str, Any]) -> str:
    roles = f["roles"]
    rows = [
        (f"labelled {role}", *row)
        for role, row in zip(roles, f["confusion_labelled_by_told"], strict=True)
        if sum(row)
    ]
    return f"Confusion matrix, {name}, sites that were judged:\n\n" + _table(
        ("", *(f"told {r}" for r in roles)), rows
    )


def _kappa_roles(runs: dict[str, Any]) -> list[str]:
    """Roles that labels and results both have."""
    return [r for r in ("M", "X2", "vac_X") if all(r in f["kappa_by_role"] for f in runs.values())]


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    return "\n".join(markdown.table(head, rows)) + "\n"


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "none"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
