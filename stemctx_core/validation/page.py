"""The page of a validation in Markdown: whether it passes, and every table."""

from __future__ import annotations

from typing import Final

import numpy as np

from stemctx_core.look import formats, markdown
from stemctx_core.simulation.answerable import NARROWEST_DETECTOR_MRAD
from stemctx_core.simulation.interpolation import INNER_MARGIN_MRAD
from stemctx_core.validation.against_reference import (
    DETECTORS,
    CellFigures,
)
from stemctx_core.validation.outcome import TIERS, Validation
from stemctx_core.validation.plots import worst_of

_WORST: Final = 12


def report_page(told: Validation) -> str:
    """The whole page."""
    lines = ["# Validation of the simulation", ""]
    how = "stemctx simulate validate --output docs/validation" + (" --quick" if told.quick else "")
    lines += [
        f"Printed by `{how}`. Library `{told.provenance['library_sha256'][:12]}`"
        + (f", deltas `{told.provenance['deltas_sha256'][:12]}`" if told.provenance["deltas_sha256"] else "")
        + f", abTEM {told.provenance['abtem']}, {_configurations(told)} thermal configurations a cell.",
        "",
        "The reference is multislice of supercells that hold defects, atoms on whole pixels, one slice a plane of "
        "atoms, thermal displacements of whole pixels. It is taken at every column and on a ring of six positions "
        "around it; the weighted sum is the column's signal under a source of 0.40 Å. Errors are in percent of the "
        "host metal's signal. Each tier is scaled by its own host metal, as a frame is when it is calibrated; "
        "*unscaled* says what is left without that.",
        "",
        "**" + ("Passes." if not told.failures() else "Fails. " + " ".join(told.failures())) + "**",
        "",
        "## Site errors",
        "",
        *markdown.table(
            ("tier", "detector", "sites", "median %", "95th %", "max %", "unscaled median %", "unscaled max %",
             "centre median %", "centre max %", "standard error %"),
            [
                (TIERS[s.tier], f"{s.detector} {DETECTORS[s.detector][0]:g}-{DETECTORS[s.detector][1]:g}", s.sites,
                 *(f"{v:.2f}" for v in (s.median_percent, s.percentile_95_percent, s.maximum_percent,
                   s.unscaled_median_percent, s.unscaled_maximum_percent, s.centre_median_percent,
                   s.centre_maximum_percent, s.standard_error_median_percent)))
                for s in told.summaries
            ],
        ),
        "",
        "![errors of all sites](site_errors.png)",
        "",
        "### Worst sites of the column library in HAADF",
        "",
        *markdown.table(("site", "signal %", "error %", "standard error %", "delta library's error %"), _worst(told)),
        "",
        "### By cell",
        "",
        *markdown.table(
            ("cell", "kV", "detector", "scale", "median %", "max %", "spread %", "spread without control %"),
            [_cell_row(told, c) for c in told.cells],
        ),
        "",
        "*Scale* is the host metal's signal of the columns over the reference's: the columns were simulated in a box "
        "of 14 Å, which makes the probe a little sharper or duller, for all columns alike. *Spread* is over thermal "
        "configurations, what is left of it with the columns of the same displaced atoms as control variate.",
        "",
    ]  # fmt: skip
    lines += _classifier_lines(told)
    lines += _study_lines(told)
    return "\n".join(lines).rstrip() + "\n"


def _configurations(told: Validation) -> str:
    counts = sorted({c.configurations for c in told.cells})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))


def _worst(told: Validation) -> list[tuple[str, ...]]:
    columns = [e for e in told.errors if e.tier == "columns" and e.detector == "HAADF"]
    other = {
        (e.name, e.cell): e.error_percent for e in told.errors if e.tier == "deltas" and e.detector == "HAADF"
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


def _cell_row(told: Validation, figures: CellFigures) -> tuple[str, ...]:
    size = [
        abs(e.error_percent)
        for e in told.errors
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


def _classifier_lines(told: Validation) -> list[str]:
    if not told.classifier:
        return []
    return [
        "## What it costs the classifier",
        "",
        f"The shipped classifier `{str(told.provenance.get('model_sha256'))[:12]}`, full context, L7, on the same "
        "scenes rendered with columns and with deltas; what it is told rests on columns in both, but for the ratio X2/M, which the analysis takes from the frame.",
        "",
        *markdown.table(
            ("dose e/Å²", "patches", "accuracy on columns", "on deltas", "cost, points"),
            [
                (formats.number(c.dose_e_per_angstrom2), str(c.patches), f"{c.accuracy_columns:.4f}",
                 f"{c.accuracy_deltas:.4f}", f"{c.cost_points:+.2f} ± {c.standard_error_points:.2f}")
                for c in told.classifier
            ],
        ),
        "",
    ]  # fmt: skip


def _study_lines(told: Validation) -> list[str]:
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
        rows = told.studies.get(name)
        if rows:
            lines += [f"## {title}", "", text, ""]
            lines += markdown.table(
                tuple(k.replace("_", " ") for k in rows[0]), [tuple(r.values()) for r in rows]
            )
            lines.append("")
    limits = told.studies.get("superposition_limits")
    if limits:
        lines += [
            "## Where columns stop to add up",
            "",
            "The larger error of the two host columns in the perfect lattice, atoms at rest, percent of the metal's "
            f"own signal, at {limits['convergence_semi_angle_mrad']:g} mrad; the largest of all hosts and energies "
            f"tried. The library refuses inner angles below the disc's edge plus {INNER_MARGIN_MRAD:g} mrad and "
            f"detectors narrower than {NARROWEST_DETECTOR_MRAD:g} mrad.",
            "",
            *markdown.table(
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
