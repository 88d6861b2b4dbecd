"""All that a validation found, and whether it passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from stemctx_core.look import formats
from stemctx_core.validation.against_reference import (
    MAXIMUM_LIMIT_PERCENT,
    MEDIAN_LIMIT_PERCENT,
    CellFigures,
    SiteError,
    Summary,
    plain,
    summaries,
)
from stemctx_core.validation.classifier_cost import COST_LIMIT_POINTS, ClassifierCost

#: Tiers that are compared with the reference, in words.
TIERS: Final = {"columns": "column library", "deltas": "delta library"}


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
