"""Plots against dose: accuracy and entropy, the distance to Bayes, the ablation, and unseen conditions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stemctx_core.evaluation.ablation import IMAGE_ONLY, PREDICTIONS, SCORER
from stemctx_core.evaluation.scenes import Mode
from stemctx_core.look import colours, formats, plots

_SHOWN: Final = ("L5", "L7", "L7 near-Z")
_FIGURES: Final = (("accuracy", "accuracy"), ("entropy_nats", "posterior entropy (nats)"))
_MODELS: Final = {
    IMAGE_ONLY: (plots.IMAGE, "o"),
    "condition": (colours.SERIES[4], "s"),
    "host": (colours.SERIES[3], "D"),
    "candidates": (colours.SERIES[1], "P"),
    PREDICTIONS: (plots.PREDICTIONS, "v"),
    SCORER: (plots.SCORER, "^"),
}


def curves(told: dict[str, Any]) -> bytes:
    """Accuracy and entropy against dose, with the Bayes curve."""
    figure, axes = plots.new(2, len(_SHOWN), 5.6, sharex=True)
    for column, labels in enumerate(_SHOWN):
        for row, (key, words) in enumerate(_FIGURES):
            ax = axes[row, column]
            for mode, colour in ((Mode.FRAME, plots.SCORER), (Mode.UNKNOWN, plots.UNKNOWN)):
                mine = [r for r in told["rows"] if r["labels"] == labels and r["mode"] == mode]
                _line(ax, mine, "scorer", key, f"scorer, {mode}", colour, "-", "o")
                bayes = [r for r in told["distance_to_bayes"] if r["labels"] == labels and r["mode"] == mode]
                _line(ax, bayes, "bayes", key, f"Bayes, {mode}", colour, (0, (4, 2)), "x")
            frame = [r for r in told["rows"] if r["labels"] == labels and r["mode"] == Mode.FRAME]
            _line(ax, frame, "predictions_alone", key, "predictions alone", plots.PREDICTIONS, ":", "")
            ax.set_xscale("log")
            if key == "entropy_nats":
                plots.logarithmic(ax)
            plots.label(
                ax, labels if row == 0 else "", "dose (e/Å²)" if row else "", words if column == 0 else ""
            )
    plots.legend_below(figure, list(axes.flat), 3)
    return plots.png(figure)


def distances(told: dict[str, Any]) -> bytes:
    """Points below Bayes and divergence from it, with standard errors and the targets."""
    figure, axes = plots.new(1, 3, 3.2)
    listed = ((Mode.FRAME, "L5"), (Mode.FRAME, "L7"), (Mode.UNKNOWN, "L7"))
    limits = (
        {1e4: 0.5, 1e5: 0.5},
        dict.fromkeys((1e3, 1e4, 1e5, 1e6), 1.0),
        {1e3: 1.5, 1e4: 1.5, 1e5: 1.0, 1e6: 1.0},
    )
    for ax, (mode, labels), targets in zip(axes[0], listed, limits, strict=True):
        mine = [r for r in told["distance_to_bayes"] if r["labels"] == labels and r["mode"] == mode]
        doses = [r["dose_e_per_angstrom2"] for r in mine]
        gaps = _values([r["gap_points"] for r in mine])
        ax.axhline(0, color=plots.BAYES, linewidth=0.8)
        ax.errorbar(
            doses, gaps[0], 2 * gaps[1], fmt="o-", color=plots.SCORER, capsize=3, linewidth=1.4, label="scorer (± 2 s.e.)"
        )  # fmt: skip
        ax.plot(
            list(targets),
            list(targets.values()),
            "_",
            color=plots.UNKNOWN,
            markersize=22,
            markeredgewidth=2,
            label="target: at most",
        )
        ax.set_xscale("log")
        plots.label(ax, f"{labels}, {mode}", "dose (e/Å²)", "points below Bayes" if ax is axes[0, 0] else "")
    plots.legend_below(figure, list(axes.flat))
    return plots.png(figure)


def information(told: dict[str, Any]) -> bytes:
    """What each piece of information buys: accuracy and entropy by model."""
    sets = ("L5 far-Z", "L7")
    figure, axes = plots.new(2, 2, 5.4, sharex=True)
    for column, labels in enumerate(sets):
        entries = [e for e in told["ablation"] if e["labels"] == labels]
        for row, (key, words) in enumerate(_FIGURES):
            ax = axes[row, column]
            for number, model in enumerate([m["model"] for m in entries[0]["models"]]):
                found = [next(m for m in e["models"] if m["model"] == model) for e in entries]
                colour, marker = _MODELS.get(model, (colours.SERIES[number % len(colours.SERIES)], "P"))
                values = _values([f["species"][key] for f in found])
                doses = [e["dose_e_per_angstrom2"] for e in entries]
                ax.errorbar(
                    doses, values[0], values[1], marker=marker, markersize=4, color=colour, linewidth=1.4, label=model
                )  # fmt: skip
            ax.set_xscale("log")
            if key == "entropy_nats":
                plots.logarithmic(ax)
            plots.label(
                ax, f"{labels}, species" if row == 0 else "", "dose (e/Å²)" if row else "", words if column == 0 else ""
            )  # fmt: skip
    plots.legend_below(figure, list(axes.flat), 4)
    return plots.png(figure)


def unseen(told: dict[str, Any]) -> bytes:
    """Accuracy of conditions that nothing was trained on, the Bayes reference beside it."""
    names = list(dict.fromkeys(e["condition"] for e in told["generalisation"]))
    figure, axes = plots.new(1, 2, 0.9 + 0.38 * len(names), sharey=True)
    places = np.arange(len(names))[::-1]
    for ax, dose in zip(axes[0], (1e4, 1e5), strict=True):
        for offset, who, colour, marker in (
            (0.1, "scorer", plots.SCORER, "o"),
            (-0.1, "bayes", plots.BAYES, "x"),
        ):
            shown = []
            for place, name in zip(places, names, strict=True):
                entry: dict[str, Any] = next(
                    (e for e in told["generalisation"] if e["condition"] == name and e["dose_e_per_angstrom2"] == dose), {}
                )  # fmt: skip
                figures = (
                    entry.get("scorer") if who == "scorer" else entry.get("distance_to_bayes", {}).get("bayes")
                )
                if figures:
                    shown.append((place + offset, figures["accuracy"]))
            if shown:
                values = _values([f for _, f in shown])
                ax.errorbar(
                    values[0], [p for p, _ in shown], xerr=2 * values[1], fmt=marker, color=colour, capsize=2,
                    markersize=5, label="Bayes" if who == "bayes" else "scorer (± 2 s.e.)",
                )  # fmt: skip
        row = next(
            r for r in told["rows"]
            if r["labels"] == "L7" and r["mode"] == Mode.FRAME and r["dose_e_per_angstrom2"] == dose
        )  # fmt: skip
        ax.axvline(
            row["scorer"]["accuracy"]["value"], color=plots.SCORER, linewidth=1, linestyle=":", label="scorer, the 576 cases"
        )  # fmt: skip
        ax.set_yticks(places, names)
        ax.set_xlim(right=1.005)
        plots.label(ax, formats.dose(dose), "accuracy, L7")
    plots.legend_below(figure, list(axes.flat))
    return plots.png(figure)


def _line(
    ax: Any, rows: list[dict[str, Any]], who: str, key: str, name: str, colour: str, style: Any, marker: str
) -> None:
    if not rows:
        return
    values = _values([r[who][key] for r in rows])
    doses = [r["dose_e_per_angstrom2"] for r in rows]
    ax.errorbar(
        doses, values[0], values[1], color=colour, linestyle=style, marker=marker, markersize=4, linewidth=1.4, label=name
    )  # fmt: skip


def _values(figures: list[dict[str, float | None]]) -> Any:
    """(2, n) values and standard errors; a missing error draws no bar."""
    pairs = [(f["value"], f["se"] if f["se"] is not None else 0.0) for f in figures]
    return np.array([[np.nan if v is None else v, e] for v, e in pairs], float).reshape(-1, 2).T
