"""One frame from its intensities to what is said of every site. No state, no wire, no window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core import classes, materials
from stemctx_core.calibration import (
    FITTING_RATIO,
    FrameCalibration,
    calibrate,
    expected_ratio,
    flatten,
    measure_scatter,
)
from stemctx_core.classes import Candidate, Role
from stemctx_core.classifier import Classifier, load_bundle, posterior_from
from stemctx_core.context import ImagingContext, Known
from stemctx_core.decision import NO_LATTICE_HERE, OBSTACLES, UNKNOWN, Thresholds, decide
from stemctx_core.encoding import EncodedScene, Nuisance, Scene, assemble, host_rows, predict
from stemctx_core.engine import Engine
from stemctx_core.errors import FrameError, InputError, LibraryError
from stemctx_core.features import projection
from stemctx_core.frame_checks import check_image, pixel_size_words
from stemctx_core.lattice import find_sites
from stemctx_core.patches import SAMPLES, CutPatches, extract_patches
from stemctx_core.results import (
    EDGE,
    CalibrationSummary,
    EngineInfo,
    FrameIdentity,
    FrameResult,
    Refusal,
    SiteTable,
)
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.render import Optics

#: Source size at which X2/M is looked up before the frame's own is known.
_TYPICAL_SIGMA_ANGSTROM: Final = 0.45
#: A whitened distance this many times the frame's median means that no candidate fits.
_OUTLIER_FACTOR: Final = 6.0
_ROUNDING: Final = 0.0025
#: Below this part of the frame's typical lattice contrast there is no crystal to judge.
LEAST_COHERENCE: Final = 0.35


@dataclass(frozen=True)
class Sites:
    """Where the sites of a frame are.

    Attributes
    ----------
    positions_px
        (n, 2) y, x.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    pixel_size_angstrom
        By the lattice.
    """

    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    pixel_size_angstrom: float


@dataclass(frozen=True)
class SiteEvidence:
    """Everything about the sites of a frame before it is decided what to say.

    Attributes
    ----------
    log_likelihood
        (n, C) of the sites; rows of sites that are not judged are zero.
    obstacle
        (n,) int8 index into `stemctx_core.decision.OBSTACLES`: why a site is not judged, 0 where it is.
    """

    sites: Sites
    calibration: FrameCalibration
    dose_e_per_angstrom2: float
    nuisance: Nuisance
    log_likelihood: NDArray[np.float32]
    obstacle: NDArray[np.int8]
    warnings: tuple[str, ...]


class FrameAnalyzer:
    """Judges frames.

    Parameters
    ----------
    classifier
        Model and engine.
    library
        Column responses.
    thresholds
        When a site is flagged.
    prevalence
        How often each role is met; the benchmark's real prevalence by default.
    nuisance
        Uncertainties that a frame cannot show itself.
    """

    def __init__(
        self,
        classifier: Classifier,
        library: ResponseLibrary | None = None,
        thresholds: Thresholds | None = None,
        prevalence: dict[Role, float] | None = None,
        nuisance: Nuisance | None = None,
    ) -> None:
        self.classifier = classifier
        self.library = library or shipped_library()
        self.thresholds = thresholds or Thresholds()
        self.prevalence = prevalence
        self.nuisance = nuisance or Nuisance()
        # Frames of one field differ by less than the rounding, so that their predictions are made once.
        self._predict = lru_cache(maxsize=16)(partial(predict, self.library))

    @classmethod
    def shipped(
        cls, engine: Engine | None = None, bundle: Path | None = None, thresholds: Thresholds | None = None
    ) -> FrameAnalyzer:
        """Analyzer with the shipped model (or another bundle) and the shipped library."""
        return cls(Classifier(load_bundle(bundle), engine), thresholds=thresholds)

    @property
    def engine_info(self) -> EngineInfo:
        """Which engine runs the model."""
        return self.classifier.engine.info

    @property
    def model_name(self) -> str:
        """Name and first digits of the hash of the model."""
        return self.classifier.bundle.name

    @property
    def model_sha256(self) -> str:
        """Hash of the model."""
        return self.classifier.bundle.sha256

    def analyze(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        frame: FrameIdentity | None = None,
    ) -> FrameResult:
        """Judge a frame, or the rows of it that are there; a frame that cannot be judged is a refusal.

        Parameters
        ----------
        image
            (height, width) intensities of any real type.
        context
            What was imaged and how.
        frame
            Which frame it is, handed through to the result.
        """
        identity = frame or FrameIdentity(valid_rows=_rows(image), shape=_shape(image))
        timing: dict[str, float] = {}
        return self.judge(lambda: self.evidence(image, context, timing), context, identity, timing)

    def analyze_patches(
        self,
        patches: CutPatches,
        context: ImagingContext,
        frame: FrameIdentity,
    ) -> FrameResult:
        """Judge lattice-registered patches that somebody else cut."""
        timing: dict[str, float] = {}
        pixel = context.pixel_size_angstrom
        positions_px = np.stack([patches.y_px, patches.x_px], axis=1).astype(np.float64)
        pixel_size = pixel.value if isinstance(pixel, Known) else float("nan")
        sites = Sites(positions_px, np.asarray(patches.sublattice, np.int8), pixel_size)
        values = np.ascontiguousarray(patches.patches, np.float32).reshape(len(positions_px), SAMPLES)

        def evidence() -> SiteEvidence:
            optics = _optics(context)
            self._check_library(optics)
            if not np.isfinite(values).all():
                raise FrameError("not_finite", "Some patches hold NaN or infinity.", "Leave those patches out.")
            obstacle = np.zeros(len(values), np.int8)
            return self._patch_evidence(values, sites, obstacle, context, optics, [], timing)

        return self.judge(evidence, context, frame, timing)

    def judge(
        self,
        find_evidence: Callable[[], SiteEvidence],
        context: ImagingContext,
        frame: FrameIdentity,
        timing: dict[str, float],
        frames_accumulated: int = 1,
    ) -> FrameResult:
        """Conclude from evidence that is found here, or refuse with the reason why none was."""
        candidates: tuple[Candidate, ...] = ()
        try:
            candidates = context.validated().candidates
            evidence = find_evidence()
        except FrameError as error:
            refusal = Refusal(error.code, error.reason, error.fix)
        except LibraryError as error:
            refusal = Refusal("outside_library", str(error), "See the reason.")
        except InputError as error:
            refusal = Refusal("bad_context", str(error), "Correct the imaging context.")
        else:
            return self.conclude(evidence, context, frame, timing, frames_accumulated)
        return FrameResult(
            frame=frame,
            context=context,
            candidates=candidates,
            sites=SiteTable.empty(len(candidates)),
            refusal=refusal,
            engine=self.engine_info,
            model=self.model_name,
            timing_ms=timing,
        )

    def evidence(
        self, image: NDArray[Any], context: ImagingContext, timing: dict[str, float] | None = None
    ) -> SiteEvidence:
        """Sites of a frame with the likelihood of every candidate.

        Raises
        ------
        FrameError, LibraryError, InputError
            Why the frame cannot be judged.
        """
        timing = {} if timing is None else timing
        optics = _optics(context)
        self._check_library(optics)
        host = materials.host(context.host)
        check_image(image)
        pixel = context.pixel_size_angstrom
        hint = pixel.value if isinstance(pixel, Known) else None
        with _timed(timing, "sites"):
            grid = find_sites(image, host, expected_ratio(self.library, host, optics), hint)
            warnings = pixel_size_words(grid.pixel_size_angstrom, hint)
            if grid.naming.startswith("ambiguous"):
                warnings.append(f"The sublattices may be named the wrong way round: {grid.naming}.")
        with _timed(timing, "patches"):
            patches = extract_patches(image, grid)
            obstacle = np.zeros(len(grid), np.int8)
            obstacle[grid.coherence < LEAST_COHERENCE] = OBSTACLES.index(NO_LATTICE_HERE)
            obstacle[~patches.whole] = OBSTACLES.index(EDGE)
        sites = Sites(grid.positions_px, grid.sublattice, grid.pixel_size_angstrom)
        return self._patch_evidence(patches.values, sites, obstacle, context, optics, warnings, timing)

    def _check_library(self, optics: Optics) -> None:
        self.library.check(
            optics.high_tension_kv, optics.convergence_semi_angle_mrad, optics.inner_mrad, optics.outer_mrad
        )

    def _patch_evidence(
        self,
        patches: NDArray[np.float32],
        sites: Sites,
        obstacle: NDArray[np.int8],
        context: ImagingContext,
        optics: Optics,
        warnings: list[str],
        timing: dict[str, float],
    ) -> SiteEvidence:
        host, candidates = materials.host(context.host), context.candidates
        judged = obstacle == 0
        sublattice = sites.sublattice[judged]
        with _timed(timing, "calibration"):
            kept = flatten(patches[judged], sublattice, sites.positions_px[judged])
            calibration = calibrate(self.library, host, optics, kept, sublattice)
            if not FITTING_RATIO[0] < calibration.ratio < FITTING_RATIO[1]:
                warnings.append(
                    f"X2/M is {calibration.ratio * calibration.expected_ratio:.2f} in the frame, "
                    f"{calibration.expected_ratio:.2f} is expected: the declared detector angles may not be the real ones."
                )
            scene = Scene(
                host=host,
                candidates=candidates,
                optics=replace(optics, sigma_angstrom=_rounded(calibration.sigma_angstrom)),
                dose_e_per_angstrom2=1.0,
                background=0.0,
                ratio=_rounded(calibration.ratio),
                nuisance=replace(self.nuisance, defects=_rounded(calibration.defects)),
            )
            predictions = self._predict(scene)
            unit = calibration.gain * predictions.reference
            # In place: the patches of a large frame are most of the memory that is used.
            kept -= np.float32(calibration.background)
            kept *= np.float32(1 / unit)
            features = kept @ projection().T.astype(np.float32)
            rows = host_rows(candidates)
            level = calibration.background / unit
            scatter = measure_scatter(predictions, features, sublattice, rows, level, scene.nuisance)
            encoded = assemble(predictions, scatter.nuisance, scatter.dose_e_per_angstrom2, scatter.background)
            warnings += _inseparable(encoded, candidates, self.prevalence, self.thresholds.defect)
        with _timed(timing, "posterior"):
            log_likelihood = np.zeros((len(judged), len(candidates)), np.float32)
            log_likelihood[judged] = self.classifier.log_likelihood(kept, encoded)
            obstacle = obstacle.copy()
            unlike = np.flatnonzero(judged)[_unlike_all(features, encoded, log_likelihood[judged])]
            obstacle[unlike] = OBSTACLES.index(UNKNOWN)
        return SiteEvidence(
            sites,
            calibration,
            scatter.dose_e_per_angstrom2,
            scatter.nuisance,
            log_likelihood,
            obstacle,
            tuple(warnings),
        )

    def conclude(
        self,
        evidence: SiteEvidence,
        context: ImagingContext,
        frame: FrameIdentity,
        timing: dict[str, float] | None = None,
        frames_accumulated: int = 1,
    ) -> FrameResult:
        """Prior, posterior and decision for the evidence of one frame or of several of one field."""
        timing = {} if timing is None else timing
        candidates = context.candidates
        sites, calibration = evidence.sites, evidence.calibration
        with _timed(timing, "decision"):
            prior = site_prior(candidates, sites.sublattice, self.prevalence)
            posterior = posterior_from(evidence.log_likelihood, prior)
            dose = evidence.dose_e_per_angstrom2
            verdicts = decide(posterior, candidates, evidence.obstacle, self.thresholds, dose)
        return FrameResult(
            frame=frame,
            context=context,
            candidates=candidates,
            sites=SiteTable(
                y_px=sites.positions_px[:, 0].astype(np.float32),
                x_px=sites.positions_px[:, 1].astype(np.float32),
                sublattice=sites.sublattice.astype(np.int8),
                posterior=posterior,
                best=posterior.argmax(axis=1).astype(np.int16),
                decision=verdicts.decision,
                reason=verdicts.reason,
            ),
            reasons=verdicts.reasons,
            warnings=evidence.warnings,
            calibration=CalibrationSummary(
                pixel_size_angstrom=sites.pixel_size_angstrom,
                gain=calibration.gain,
                background=calibration.background,
                sigma_angstrom=calibration.sigma_angstrom,
                dose_e_per_angstrom2=evidence.dose_e_per_angstrom2,
                ratio_measured=calibration.ratio * calibration.expected_ratio,
                ratio_expected=calibration.expected_ratio,
                amplitude_sd=evidence.nuisance.amplitude,
                jitter_angstrom=evidence.nuisance.jitter_angstrom,
            ),
            engine=self.engine_info,
            model=self.model_name,
            timing_ms=timing,
            frames_accumulated=frames_accumulated,
        )


def site_prior(
    candidates: tuple[Candidate, ...],
    sublattice: NDArray[np.int8],
    prevalence: dict[Role, float] | None = None,
) -> NDArray[np.float64]:
    """(n, C) prior of each candidate at each site; nothing is expected on the other sublattice."""
    rates = np.array(classes.priors(candidates, prevalence))
    codes = np.array([list(classes.Sublattice).index(c.sublattice) for c in candidates])
    prior: NDArray[np.float64] = rates * (codes == np.asarray(sublattice)[:, None])
    return prior


def _optics(context: ImagingContext) -> Optics:
    missing = context.missing()
    if missing:
        named = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise FrameError(
            "missing_context",
            f"The imaging context is incomplete ({named}).",
            "Give the missing values, or map the instrument controls that hold them.",
        )
    return Optics(
        context.value("high_tension_kv"),
        context.value("convergence_semi_angle_mrad"),
        context.value("inner_mrad"),
        context.value("outer_mrad"),
        _TYPICAL_SIGMA_ANGSTROM,
    )


def _rounded(value: float) -> float:
    """To a step that is small beside the error that the value is taken to have."""
    return round(value / _ROUNDING) * _ROUNDING


def _unlike_all(
    features: NDArray[np.float32], encoded: EncodedScene, log_likelihood: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Whether the whitened distance of a patch from its best candidate stands far out of the frame's own."""
    if not len(features):
        return np.zeros(0, bool)
    best = log_likelihood.argmax(axis=1)
    squared = np.zeros(len(features))
    for c in np.unique(best):
        mine = best == c
        white = (features[mine] - encoded.mean[c]) @ encoded.whiten[c].T
        squared[mine] = np.mean(white**2, axis=1)
    unlike: NDArray[np.bool_] = squared > _OUTLIER_FACTOR * max(1.0, float(np.median(squared)))
    return unlike


def _inseparable(
    encoded: EncodedScene,
    candidates: tuple[Candidate, ...],
    prevalence: dict[Role, float] | None,
    needed_probability: float,
) -> list[str]:
    """Name the defects that even a typical site of theirs could not show at this dose.

    A site whose patch is exactly as predicted for a defect gains half the squared whitened distance to the host's own
    prediction in log-odds; where that does not outweigh the prior up to the flagging threshold, it cannot be flagged.
    """
    rates = classes.priors(candidates, prevalence)
    hidden = []
    for row, candidate in enumerate(candidates):
        if not candidate.is_defect:
            continue
        own = next(
            i for i, c in enumerate(candidates) if not c.is_defect and c.sublattice is candidate.sublattice
        )
        white = encoded.whiten[own] @ (encoded.mean[row] - encoded.mean[own])
        gained = 0.5 * float(white @ white)
        odds = needed_probability / (1 - needed_probability) * rates[own] / rates[row]
        if gained < np.log(odds):
            hidden.append(f"{candidate.species} from {candidates[own].species}")
    if not hidden:
        return []
    return [f"Cannot be told apart at this dose: {', '.join(hidden)}."]


@contextmanager
def _timed(timing: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter_ns()
    yield
    timing[step] = (time.perf_counter_ns() - started) / 1e6


def _rows(image: NDArray[Any]) -> int:
    return int(image.shape[0]) if image.ndim == 2 else 0


def _shape(image: NDArray[Any]) -> tuple[int, int]:
    return (int(image.shape[0]), int(image.shape[1])) if image.ndim == 2 else (0, 0)
