"""`FrameResult`: sites and frame in one record, and its table, summary and files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Role, priors
from stemctx_core.chemistry.prevalence import reweighted, uniform
from stemctx_core.context import ImagingContext
from stemctx_core.results.frame import CalibrationSummary, EngineInfo, FrameIdentity, Refusal
from stemctx_core.results.site_table import DECISIONS, EDGE, SUBLATTICES, Decision, SiteTable
from stemctx_core.whole_files import write_whole

CSV_COLUMNS = (
    "y_px", "x_px", "y_nm", "x_nm", "sublattice", "role", "species", "probability", "entropy_nats",
    "decision", "reason", "probability_default_prior", "probability_uniform_prior",
)  # fmt: skip


@dataclass(frozen=True)
class FrameResult:
    """What was found in one frame (or in the rows of it that are there).

    Attributes
    ----------
    frame
        Which frame this is about.
    context
        The context it was judged in, with sources.
    candidates
        Meaning of the columns of the posterior.
    sites
        One row a lattice site; empty where the frame was refused.
    reasons
        Texts that `SiteTable.reason` points into; the first is empty.
    refusal
        Why the frame was not judged, or None.
    warnings
        What the user should know of a frame that was judged.
    calibration
        What the frame says of itself, where a lattice was found.
    engine, model
        What judged it; the model is name and first digits of its hash.
    timing_ms
        Milliseconds of each step.
    frames_accumulated
        Number of frames of this field whose evidence is in the posterior.
    prior
        Of each candidate at a site of its sublattice, as it is in the posterior; empty where it is not known.
    """

    frame: FrameIdentity
    context: ImagingContext
    candidates: tuple[Candidate, ...]
    sites: SiteTable
    reasons: tuple[str, ...] = ("",)
    refusal: Refusal | None = None
    warnings: tuple[str, ...] = ()
    calibration: CalibrationSummary | None = None
    engine: EngineInfo = EngineInfo("none", "")
    model: str = ""
    timing_ms: dict[str, float] = field(default_factory=dict)
    frames_accumulated: int = 1
    prior: tuple[float, ...] = ()

    def probability_with(self, prior: tuple[float, ...]) -> NDArray[np.float64]:
        """(n,) probability of what is named at each site, had the prior been another one; NaN where none is known."""
        if len(self.prior) != len(self.candidates):
            return np.full(len(self.sites), np.nan)
        changed = reweighted(self.sites.posterior, self.prior, prior)
        named: NDArray[np.float64] = changed[np.arange(len(changed)), self.sites.best.astype(np.intp)]
        return named

    def where(self, decision: Decision) -> NDArray[np.intp]:
        """Indices of the sites with this decision."""
        return np.flatnonzero(self.sites.decision == DECISIONS.index(decision))

    def undecided(self) -> NDArray[np.intp]:
        """Indices of the sites that were looked at and could not be decided; not those cut by the border."""
        abstained = self.where(Decision.ABSTAIN)
        if EDGE not in self.reasons:
            return abstained
        judged: NDArray[np.intp] = abstained[self.sites.reason[abstained] != self.reasons.index(EDGE)]
        return judged

    def role(self, site: int) -> Role:
        """Most probable role at a site."""
        return self.candidates[int(self.sites.best[site])].role

    def species(self, site: int) -> str:
        """Most probable species at a site."""
        return self.candidates[int(self.sites.best[site])].species

    def flag_counts(self) -> dict[str, int]:
        """Number of flags by species, most frequent first."""
        names = [self.species(int(i)) for i in self.where(Decision.FLAG)]
        return dict(sorted(((n, names.count(n)) for n in set(names)), key=lambda item: (-item[1], item[0])))

    def rows(self) -> list[dict[str, object]]:
        """One dict a site, keys as `CSV_COLUMNS`."""
        pixel_nm = self.calibration.pixel_size_angstrom / 10 if self.calibration else float("nan")
        t = self.sites
        probability, entropy = t.probability, t.entropy_nats
        by_default, evenly = (
            ["" if np.isnan(p) else round(float(p), 5) for p in self.probability_with(prior)]
            for prior in (priors(self.candidates), uniform(self.candidates))
        )
        return [
            {
                "y_px": round(float(t.y_px[i]), 3),
                "x_px": round(float(t.x_px[i]), 3),
                "y_nm": round(float(t.y_px[i]) * pixel_nm, 4),
                "x_nm": round(float(t.x_px[i]) * pixel_nm, 4),
                "sublattice": SUBLATTICES[int(t.sublattice[i])].value,
                "role": self.role(i).value,
                "species": self.species(i),
                "probability": round(float(probability[i]), 5),
                "entropy_nats": round(float(entropy[i]), 5),
                "decision": DECISIONS[int(t.decision[i])].value,
                "reason": self.reasons[int(t.reason[i])],
                "probability_default_prior": by_default[i],
                "probability_uniform_prior": evenly[i],
            }
            for i in range(len(t))
        ]

    def write_csv(self, path: Path) -> None:
        """Write one row a site; the file appears whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, CSV_COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows())
        write_whole(path, text.getvalue())

    def summary(self) -> dict[str, Any]:
        """What is said of the frame without its sites, ready for JSON."""
        return {
            "frame": msgspec.to_builtins(self.frame),
            "context": msgspec.to_builtins(self.context),
            "sites": len(self.sites),
            "flags": self.flag_counts(),
            "undecided": len(self.undecided()),
            "at_the_border": len(self.where(Decision.ABSTAIN)) - len(self.undecided()),
            "refusal": msgspec.to_builtins(self.refusal),
            "warnings": list(self.warnings),
            "calibration": msgspec.to_builtins(self.calibration),
            "engine": msgspec.to_builtins(self.engine),
            "model": self.model,
            "timing_ms": {k: round(v, 3) for k, v in self.timing_ms.items()},
            "frames_accumulated": self.frames_accumulated,
            "prior": {c.species: round(p, 6) for c, p in zip(self.candidates, self.prior, strict=False)},
        }

    def to_json_line(self) -> str:
        """Summary and flagged or abstained sites as one line of JSON."""
        told = [row for row in self.rows() if row["decision"] != Decision.PASS.value]
        return json.dumps({**self.summary(), "told": told})
