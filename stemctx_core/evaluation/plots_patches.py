"""Plots of single patches: reliability, confusion, entropy, abstention, precision, cases, and the map."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm

from stemctx_core.chemistry.classes import Role
from stemctx_core.evaluation.scenes import DOSES, Mode
from stemctx_core.look import formats, plots
from stemctx_core.look.colours import AXIS, INK, ROLE_COLOURS, SERIES

#: On the map both host columns are shown, which share a colour elsewhere.
_MAP_COLOURS: Final = {**ROLE_COLOURS, Role.METAL: INK, Role.CHALCOGEN_PAIR: AXIS}
_WHO: Final = {
    "scorer": (plots.SCORER, "scorer"),
    "bayes": (plots.BAYES, "Bayes"),
    "image only": (plots.IMAGE, "image only"),
}


def reliability(told: dict[str, Any]) -> bytes:
    """Accuracy against confidence at each dose, with the share of patches below."""
    figure, axes = plots.new(2, 4, 4.0, sharex=True, height_ratios=(3, 1))
    for column, dose in enumerate(DOSES):
        above, below = axes[:, column]
        above.plot([0, 1], [0, 1], color=plots.PREDICTIONS, linewidth=0.9)
        for who, mode, colour, marker in (
            ("scorer", Mode.FRAME, plots.SCORER, "o"),
            ("scorer", Mode.UNKNOWN, plots.UNKNOWN, "s"),
            ("bayes", Mode.FRAME, plots.BAYES, "x"),
        ):
            for entry in told["reliability"]:
                if (entry["who"], entry["mode"], entry["dose_e_per_angstrom2"]) != (who, mode, dose):
                    continue
                confidence, accuracy, share = (
                    np.array(entry[k], float) for k in ("confidence", "accuracy", "share")
                )
                name = f"{_WHO[who][1]}, {mode}"
                above.plot(
                    confidence, accuracy, marker=marker, color=colour, linewidth=1.1, markersize=4, label=name
                )
                edges = np.linspace(0, 1, len(share) + 1)
                if who == "scorer":
                    below.stairs(np.clip(share, 1e-5, None), edges, color=colour, linewidth=1.1)
        plots.logarithmic(below)
        above.set(xlim=(0, 1), ylim=(0, 1))
        plots.label(above, formats.dose(dose), "", "" if column else "accuracy")
        plots.label(below, "", "confidence", "" if column else "share")
    plots.legend_below(figure, list(axes.flat))
    return plots.png(figure)


def confusion(told: dict[str, Any]) -> bytes:
    """Confusion matrices of the scorer at each dose; numbers are percent of the true role's patches."""
    figure, axes = plots.new(2, 2, 8.0)
    for ax, dose in zip(axes.flat, DOSES, strict=True):
        entry = next(e for e in told["confusion"] if e["who"] == "scorer" and e["dose_e_per_angstrom2"] == dose)
        share = np.array(entry["share"], float)
        ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="equal")
        for (i, j), value in np.ndenumerate(share):
            if value >= 0.0005:
                shown = f"{100 * value:.0f}" if value >= 0.0995 else f"{100 * value:.1f}"
                ax.text(
                    j, i, shown, ha="center", va="center", fontsize=8, color="white" if value > 0.45 else INK
                )  # fmt: skip
        ax.set_xticks(range(len(entry["roles"])), entry["roles"], rotation=40, ha="right")
        ax.set_yticks(range(len(entry["roles"])), entry["roles"])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        plots.label(ax, formats.dose(dose), "told", "true")
    return plots.png(figure)


def entropies(told: dict[str, Any]) -> bytes:
    """Histograms of the posterior entropy at each dose."""
    figure, axes = plots.new(1, 4, 2.9, sharey=True)
    for ax, dose in zip(axes[0], DOSES, strict=True):
        for entry in told["entropy_histograms"]:
            if entry["dose_e_per_angstrom2"] == dose:
                colour, name = _WHO[entry["who"]]
                ax.stairs(
                    np.clip(entry["share"], 1e-5, None), entry["edges_nats"], color=colour, linewidth=1.3, label=name
                )  # fmt: skip
        plots.logarithmic(ax)
        plots.label(ax, formats.dose(dose), "entropy (nats)", "share of patches" if ax is axes[0, 0] else "")
    plots.legend_below(figure, list(axes.flat))
    return plots.png(figure)


def abstention(told: dict[str, Any]) -> bytes:
    """Accuracy of what is answered against how much is."""
    figure, axes = plots.new(1, 1, 3.8)
    ax = axes[0, 0]
    for entry, colour in zip(told["abstention"], plots.DOSE_COLOURS, strict=True):
        dose = entry["dose_e_per_angstrom2"]
        curve = entry["scorer"]["curve"]
        ax.plot(curve["coverage"], curve["accuracy"], color=colour, linewidth=1.6, label=formats.dose(dose))
        if "bayes" in entry:
            curve = entry["bayes"]["curve"]
            ax.plot(
                curve["coverage"], curve["accuracy"], color=colour, linewidth=1.1, linestyle=(0, (4, 2)),
                label=f"{formats.dose(dose)}, Bayes",
            )  # fmt: skip
        rule = entry["scorer"]
        ax.plot(rule["coverage"]["value"], rule["accuracy"]["value"], "o", color=colour, markersize=7)
    ax.axhline(0.98, color=plots.BAYES, linewidth=0.8, linestyle=":")
    ax.set_xlim(0, 1.01)
    plots.label(ax, "", "share of patches answered", "accuracy of those")
    plots.legend_below(figure, [ax], 4)
    return plots.png(figure)


def precision(told: dict[str, Any]) -> bytes:
    """Precision against recall at real prevalence, one panel a dose."""
    figure, axes = plots.new(1, 4, 3.1, sharey=True)
    for ax, entry in zip(axes[0], told["prevalence"], strict=True):
        for role, figures in entry["roles"].items():
            colour = INK if role == "any defect" else ROLE_COLOURS[Role(role)]
            curve = figures["curve"]
            ax.plot(curve["recall"], curve["precision"], color=colour, linewidth=1.4, label=role)
        ax.set(xlim=(0, 1.02), ylim=(0, 1.03))
        plots.label(
            ax, formats.dose(entry["dose_e_per_angstrom2"]), "recall", "precision" if ax is axes[0, 0] else ""
        )
    plots.legend_below(figure, list(axes.flat), 6)
    return plots.png(figure)


def cases(told: dict[str, Any]) -> bytes:
    """Accuracy by host and dopant, mean over the energies and detectors, at two doses."""
    figure, axes = plots.new(2, 1, 5.2, sharex=True)
    parsed = [(*c["case"].split(",")[0].split(" in "), c) for c in told["cases"]]
    dopants = sorted({d for d, _, _ in parsed})
    hosts = sorted({h for _, h, _ in parsed})
    for ax, dose in zip(axes[:, 0], (1e4, 1e5), strict=True):
        total, count = np.zeros((2, len(hosts), len(dopants)))
        for dopant, host, case in parsed:
            figures = case["doses"].get(f"{dose:.0e}")
            if figures:
                total[hosts.index(host), dopants.index(dopant)] += figures["accuracy"]
                count[hosts.index(host), dopants.index(dopant)] += 1
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        ax.imshow(mean, cmap="viridis", vmin=0.6, vmax=1.0, aspect="auto")
        for (i, j), value in np.ndenumerate(mean):
            if np.isfinite(value):
                ax.text(
                    j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color="white" if value < 0.87 else INK
                )  # fmt: skip
        ax.set_xticks(range(len(dopants)), dopants)
        ax.set_yticks(range(len(hosts)), hosts)
        ax.grid(False)
        plots.label(ax, formats.dose(dose))
    scale = ScalarMappable(Normalize(0.6, 1.0), "viridis")
    bar = figure.colorbar(scale, ax=axes[:, 0], pad=0.01, aspect=40)
    bar.set_label("accuracy, L7", fontsize=9)
    bar.ax.tick_params(labelsize=8.5)
    return plots.png(figure)


def patch_map(told: dict[str, Any]) -> bytes:
    """The map of patches, coloured by role, by host and by condition."""
    points = told["map_of_patches"]
    x, y = np.array(points["x"]), np.array(points["y"])
    figure, axes = plots.new(1, 3, 4.6)
    for ax, key in zip(axes[0], ("role", "host", "condition"), strict=True):
        values = np.array(points[key])
        names = [r.value for r in Role if r.value in values] if key == "role" else sorted(set(values))
        for number, name in enumerate(names):
            colour = _MAP_COLOURS[Role(name)] if key == "role" else SERIES[number % len(SERIES)]
            here = values == name
            ax.scatter(x[here], y[here], s=2.2, color=colour, linewidths=0, label=name)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        plots.label(ax, key)
        ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, fontsize=8, frameon=False, markerscale=4, handletextpad=0.2
        )  # fmt: skip
    return plots.png(figure)
