"""`FrameResult`: the one thing that overlay, table, recorder, scripts and evaluation read, and its files."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate, Role, Sublattice, priors
from stemctx_core.chemistry.prevalence import reweighted, uniform
from stemctx_core.context import ImagingContext

CSV_COLUMNS = (
    "y_px", "x_px", "y_nm", "x_nm", "sublattice", "role", "species", "probability", "entropy_nats",
    "decision", "reason", "probability_default_prior", "probability_uniform_prior",
)  # fmt: skip


#: Reason of a site whose patch does not lie in the frame: it was not judged, which is not the same as undecided.
EDGE: Final = "edge: the patch is cut by the border of the frame"


class Decision(StrEnum):
    """What is said of a site."""

    PASS = "pass"
    FLAG = "flag"
    ABSTAIN = "abstain"


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a frame was not judged: a result, not a crash.

    Attributes
    ----------
    code
        ``outside_library``, ``outside_training``, ``not_an_image``, ``not_finite``, ``constant``, ``too_small``,
        ``too_few_sites``, ``no_lattice``, ``pixel_size_mismatch``, ``calibration``, ``contrast``, ``too_dark``,
        ``wrong_host``, ``unlike``, ``different_scans``, ``bad_context``.
    reason, fix
        In words.
    """

    code: str
    reason: str
    fix: str


class FrameIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which frame, or which part of one, a result belongs to.

    Attributes
    ----------
    scan_id
        New for every scan pass; results of another scan are never painted.
    frame_index
        As the acquisition counts.
    valid_rows
        Rows that belong to this frame; less than the height while it is being scanned.
    shape
        Height and width of the whole frame in pixels.
    """

    scan_id: str = ""
    frame_index: int = 0
    valid_rows: int = 0
    shape: tuple[int, int] = (0, 0)


class CalibrationSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the host's own columns say of the frame.

    Attributes
    ----------
    pixel_size_angstrom
        From the lattice and the host's lattice constant.
    gain, background
        Intensity units per fraction of the beam, and intensity of no sample scattering.
    sigma_angstrom
        Effective source (standard deviation per axis).
    dose_e_per_angstrom2
        From the noise.
    ratio_measured, ratio_expected
        Peak of X2 over M, in the frame and for the declared context.
    amplitude_sd, jitter_angstrom
        Scatter of column amplitudes and positions beyond counting noise.
    """

    pixel_size_angstrom: float
    gain: float
    background: float
    sigma_angstrom: float
    dose_e_per_angstrom2: float
    ratio_measured: float
    ratio_expected: float
    amplitude_sd: float
    jitter_angstrom: float


class EngineInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which inference engine ran, and why that one."""

    name: str
    reason: str


@dataclass(frozen=True)
class SiteTable:
    """One row a lattice site.

    Attributes
    ----------
    y_px, x_px
        (n,) float32 array index coordinates in the frame.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    posterior
        (n, candidates) float32, rows sum to 1.
    best
        (n,) int16 index of the most probable candidate.
    decision
        (n,) int8 index into `Decision`.
    reason
        (n,) int16 index into `FrameResult.reasons`.
    """

    y_px: NDArray[np.float32]
    x_px: NDArray[np.float32]
    sublattice: NDArray[np.int8]
    posterior: NDArray[np.float32]
    best: NDArray[np.int16]
    decision: NDArray[np.int8]
    reason: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.y_px)

    @property
    def probability(self) -> NDArray[np.float32]:
        """(n,) probability of the most probable candidate."""
        return np.take_along_axis(self.posterior, self.best[:, None].astype(np.intp), axis=1)[:, 0]

    @property
    def entropy_nats(self) -> NDArray[np.float32]:
        """(n,) posterior entropy, H = -Σ p ln p."""
        p = self.posterior
        terms = p * np.log(np.clip(p, 1e-12, None))
        return np.asarray(-terms.sum(axis=1), np.float32)

    @staticmethod
    def empty(candidates: int = 0) -> SiteTable:
        """A table without rows."""
        f, i = np.zeros(0, np.float32), np.zeros(0, np.int16)
        b = np.zeros(0, np.int8)
        return SiteTable(f, f, b, np.zeros((0, candidates), np.float32), i, b, i)


DECISIONS = tuple(Decision)
SUBLATTICES = tuple(Sublattice)


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
        temporary = path.with_name(path.name + ".part")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows())
        os.replace(temporary, path)

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
