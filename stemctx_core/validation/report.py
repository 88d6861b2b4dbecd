"""The validation's report: a page of tables in Markdown, two pictures, and everything in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stemctx_core.look import colours, formats
from stemctx_core.simulation.answerable import NARROWEST_DETECTOR_MRAD
from stemctx_core.simulation.interpolation import INNER_MARGIN_MRAD
from stemctx_core.validation.against_reference import (
    DETECTORS,
    MAXIMUM_LIMIT_PERCENT,
    MEDIAN_LIMIT_PERCENT,
    CellFigures,
    SiteError,
    Summary,
    plain,
    summaries,
)
from stemctx_core.validation.classifier_cost import COST_LIMIT_POINTS, ClassifierCost

_WORST: Final = 12
_TIERS: Final = {"columns": "column library", "deltas": "delta library"}


@dataclass(frozen=True)
class Validation:
    """All that a run found.

    Attributes
    ----------
    provenance
        Hashes of both libraries, versions, and how many configurations.
    """

    errors: list[SiteError]
    cells: list[CellFigures]
    studies: dict[str, Any]
    classifier: list[ClassifierCost]
    provenance: dict[str, Any]
    quick: bool = False
    summaries: list[Summary] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "summaries", summaries(self.errors))

    def failures(self) -> list[str]:
        """What misses its limit, in words; the gate is the column library in HAADF and the classifier's cost."""
        found = []
        gate = next(s for s in self.summaries if s.tier == "columns" and s.detector == "HAADF")
        if gate.median_percent > MEDIAN_LIMIT_PERCENT:
            found.append(
                f"The column library's median error in HAADF is {gate.median_percent:.2f} % of the host metal's signal, "
                f"above {MEDIAN_LIMIT_PERCENT:g} %."
            )
        if gate.maximum_percent > MAXIMUM_LIMIT_PERCENT:
            found.append(
                f"The column library's largest error in HAADF is {gate.maximum_percent:.2f} % of the host metal's signal, "
                f"above {MAXIMUM_LIMIT_PERCENT:g} %: {gate.worst}."
            )
        found += [
            f"Columns cost the classifier {c.cost_points:.2f} points at {formats.dose(c.dose_e_per_angstrom2)}, above "
            f"{COST_LIMIT_POINTS:g}."
            for c in self.classifier
            if not c.passes()
        ]
        return found

    def write(self, folder: Path) -> None:
        """Write ``validation.json``, ``validation.md`` and the pictures."""
        (folder / "validation.json").write_text(json.dumps(self.document(), indent=1) + "\n")
        _draw_errors(self.errors, folder / "site_errors.png")
        if "superposition_limits" in self.studies:
            _draw_limits(self.studies["superposition_limits"], folder / "superposition_limits.png")
        (folder / "validation.md").write_text(self.page())

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passes": not self.failures(),
            "failures": self.failures(),
            "quick": self.quick,
            "limits": {
                "median_percent": MEDIAN_LIMIT_PERCENT,
                "maximum_percent": MAXIMUM_LIMIT_PERCENT,
                "classifier_cost_points": COST_LIMIT_POINTS,
            },
            "provenance": self.provenance,
            "summary": plain(self.summaries),
            "classifier": plain(self.classifier),
            "cells": plain(self.cells),
            "studies": self.studies,
            "sites": plain(self.errors, 3),
        }

    def page(self) -> str:
        """Markdown."""
        lines = ["# Validation of the simulation", ""]
        how = "stemctx simulate validate --output docs/validation" + (" --quick" if self.quick else "")
        lines += [
            f"Printed by `{how}`. Library `{self.provenance['library_sha256'][:12]}`"
            + (f", deltas `{self.provenance['deltas_sha256'][:12]}`" if self.provenance["deltas_sha256"] else "")
            + f", abTEM {self.provenance['abtem']}, {self._configurations()} thermal configurations a cell.",
            "",
            "The reference is multislice of supercells that hold defects, atoms on whole pixels, one slice a plane of "
            "atoms, thermal displacements of whole pixels. It is taken at every column and on a ring of six positions "
            "around it; the weighted sum is the column's signal under a source of 0.40 Å. Errors are in percent of the "
            "host metal's signal. Each tier is scaled by its own host metal, as a frame is when it is calibrated; "
            "*unscaled* says what is left without that.",
            "",
            "**" + ("Passes." if not self.failures() else "Fails. " + " ".join(self.failures())) + "**",
            "",
            "## Site errors",
            "",
            *_table(
                ("tier", "detector", "sites", "median %", "95th %", "max %", "unscaled median %", "unscaled max %",
                 "centre median %", "centre max %", "standard error %"),
                [
                    (_TIERS[s.tier], f"{s.detector} {DETECTORS[s.detector][0]:g}-{DETECTORS[s.detector][1]:g}", s.sites,
                     *(f"{v:.2f}" for v in (s.median_percent, s.percentile_95_percent, s.maximum_percent,
                       s.unscaled_median_percent, s.unscaled_maximum_percent, s.centre_median_percent,
                       s.centre_maximum_percent, s.standard_error_median_percent)))
                    for s in self.summaries
                ],
            ),
            "",
            "![errors of all sites](site_errors.png)",
            "",
            "### Worst sites of the column library in HAADF",
            "",
            *_table(("site", "signal %", "error %", "standard error %", "delta library's error %"), self._worst()),
            "",
            "### By cell",
            "",
            *_table(
                ("cell", "kV", "detector", "scale", "median %", "max %", "spread %", "spread without control %"),
                [self._cell_row(c) for c in self.cells],
            ),
            "",
            "*Scale* is the host metal's signal of the columns over the reference's: the columns were simulated in a box "
            "of 14 Å, which makes the probe a little sharper or duller, for all columns alike. *Spread* is over thermal "
            "configurations, what is left of it with the columns of the same displaced atoms as control variate.",
            "",
        ]  # fmt: skip
        lines += self._classifier_lines()
        lines += self._study_lines()
        return "\n".join(lines).rstrip() + "\n"

    def _configurations(self) -> str:
        counts = sorted({c.configurations for c in self.cells})
        return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))

    def _worst(self) -> list[tuple[str, ...]]:
        columns = [e for e in self.errors if e.tier == "columns" and e.detector == "HAADF"]
        other = {
            (e.name, e.cell): e.error_percent
            for e in self.errors
            if e.tier == "deltas" and e.detector == "HAADF"
        }
        columns.sort(key=lambda e: -abs(e.error_percent))
        return [
            (
                e.name,
                f"{e.signal_percent:.0f}",
                f"{e.error_percent:+.2f}",
                f"{e.standard_error_percent:.2f}",
                f"{other[e.name, e.cell]:+.2f}" if other else "",
            )
            for e in columns[:_WORST]
        ]

    def _cell_row(self, figures: CellFigures) -> tuple[str, ...]:
        size = [
            abs(e.error_percent)
            for e in self.errors
            if (e.cell, e.detector, e.tier) == (figures.cell, figures.detector, "columns")
        ]
        return (
            figures.cell,
            f"{figures.high_tension_kv:g}",
            figures.detector,
            f"{figures.scale:.4f}",
            f"{np.median(size):.2f}",
            f"{max(size):.2f}",
            f"{figures.spread_percent:.2f}",
            f"{figures.spread_without_control_percent:.2f}",
        )

    def _classifier_lines(self) -> list[str]:
        if not self.classifier:
            return []
        return [
            "## What it costs the classifier",
            "",
            f"The shipped classifier `{str(self.provenance.get('model_sha256'))[:12]}`, full context, L7, on the same "
            "scenes rendered with columns and with deltas; what it is told rests on columns in both, but for the ratio X2/M, which the analysis takes from the frame.",
            "",
            *_table(
                ("dose e/Å²", "patches", "accuracy on columns", "on deltas", "cost, points"),
                [
                    (formats.number(c.dose_e_per_angstrom2), str(c.patches), f"{c.accuracy_columns:.4f}",
                     f"{c.accuracy_deltas:.4f}", f"{c.cost_points:+.2f} ± {c.standard_error_points:.2f}")
                    for c in self.classifier
                ],
            ),
            "",
        ]  # fmt: skip

    def _study_lines(self) -> list[str]:
        lines: list[str] = []
        titles = {
            "slices": (
                "What abTEM's projection leaves uncertain",
                "One column alone in the cell of WSe2 at 80 kV, peak against *infinite* projection with one slice a "
                "plane. Thin slices change nothing; abTEM's *finite* projection of the atoms over several slices moves "
                "the peaks by what no choice here decides: read every absolute intensity, and ratios of heavy to light "
                "columns, with this uncertainty.",
            ),
            "subpixel": (
                "Atoms off a pixel",
                "Peak of a single atom at 80 kV in percent of that on a pixel of 0.0125 Å. This is why atoms of "
                "columns and reference stand on pixels.",
            ),
            "convergence": (
                "Sampling and box",
                "Changes against the library's grid. The ratio of pair to metal is what the analysis uses.",
            ),
        }
        for name, (title, text) in titles.items():
            rows = self.studies.get(name)
            if rows:
                lines += [f"## {title}", "", text, ""]
                lines += _table(tuple(k.replace("_", " ") for k in rows[0]), [tuple(r.values()) for r in rows])
                lines.append("")
        limits = self.studies.get("superposition_limits")
        if limits:
            lines += [
                "## Where columns stop to add up",
                "",
                "The larger error of the two host columns in the perfect lattice, atoms at rest, percent of the metal's "
                f"own signal, at {limits['convergence_semi_angle_mrad']:g} mrad; the largest of all hosts and energies "
                f"tried. The library refuses inner angles below the disc's edge plus {INNER_MARGIN_MRAD:g} mrad and "
                f"detectors narrower than {NARROWEST_DETECTOR_MRAD:g} mrad.",
                "",
                *_table(
                    ("inner \\ width mrad", *(f"{w:g}" for w in limits["width_mrad"])),
                    [
                        (f"{inner:g}", *("" if np.isnan(v) else f"{v:.1f}" for v in row))
                        for inner, row in zip(limits["inner_mrad"], worst_of(limits), strict=True)
                    ],
                ),
                "",
                "![superposition](superposition_limits.png)",
                "",
            ]
        return lines


def worst_of(limits: dict[str, Any]) -> np.ndarray:
    """(inner, width) largest error over hosts and energies; NaN where nothing was tried."""
    tables = np.array(list(limits["percent"].values()), dtype=float)
    worst: np.ndarray = np.where(
        np.isnan(tables).all(axis=0), np.nan, np.nan_to_num(tables, nan=-1).max(axis=0)
    )
    return worst


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    shown = [" | ".join(str(v) for v in row) for row in (head, ["---"] * len(head), *rows)]
    return [f"| {line} |" for line in shown]


def _draw_errors(errors: Sequence[SiteError], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    tiers = list(dict.fromkeys(e.tier for e in errors))
    axes = figure.subplots(len(tiers), len(DETECTORS), sharex=True, sharey=True, squeeze=False)
    for row, tier in zip(axes, tiers, strict=True):
        for axis, detector in zip(row, DETECTORS, strict=True):
            chosen = [e for e in errors if e.tier == tier and e.detector == detector]
            for defect, colour, label in ((False, "0.6", "host"), (True, colours.MISSED, "defect")):
                some = [e for e in chosen if e.is_defect is defect]
                axis.errorbar(
                    [e.signal_percent for e in some],
                    [e.error_percent for e in some],
                    [e.standard_error_percent for e in some],
                    fmt="o", ms=2.5, lw=0.5, color=colour, label=label,
                )  # fmt: skip
            for limit in (
                -MAXIMUM_LIMIT_PERCENT,
                -MEDIAN_LIMIT_PERCENT,
                MEDIAN_LIMIT_PERCENT,
                MAXIMUM_LIMIT_PERCENT,
            ):
                axis.axhline(limit, color="0.8", lw=0.8, zorder=0)
            axis.set_title(f"{_TIERS[tier]}, {detector}", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("signal of the site, % of the host metal's", fontsize=9)
    figure.supylabel("error, % of the host metal's signal", fontsize=9)
    figure.savefig(path, dpi=110)


def _draw_limits(limits: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    worst = worst_of(limits)
    shown = axis.imshow(worst, vmin=0, vmax=5, cmap="viridis_r", aspect="auto")
    for (i, j), value in np.ndenumerate(worst):
        if not np.isnan(value):
            axis.text(
                j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if value > 2.5 else "k"
            )
    axis.set_xticks(range(len(limits["width_mrad"])), [f"{w:g}" for w in limits["width_mrad"]])
    axis.set_yticks(range(len(limits["inner_mrad"])), [f"{v:g}" for v in limits["inner_mrad"]])
    axis.set_xlabel("width of the detector, mrad")
    axis.set_ylabel("inner angle, mrad")
    axis.set_title(
        f"error of superposition, % of the metal's signal (disc {limits['convergence_semi_angle_mrad']:g} mrad)",
        fontsize=9,
    )
    figure.colorbar(shown, ax=axis)
    figure.savefig(path, dpi=110)
