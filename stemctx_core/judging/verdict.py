"""Evidence to a result: prior, posterior, decision, and the record of everything that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate
from stemctx_core.chemistry.prevalence import estimate
from stemctx_core.classifier.classifier import posterior_from
from stemctx_core.context import ImagingContext
from stemctx_core.judging.conformal import ConformalSets
from stemctx_core.judging.decision import Thresholds, decide
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.results import (
    CalibrationSummary,
    EngineInfo,
    FrameIdentity,
    FrameResult,
    Refusal,
    SiteTable,
)


def site_prior(
    candidates: tuple[Candidate, ...],
    sublattice: NDArray[np.int8],
    prevalence: Mapping[str, float] | None = None,
) -> NDArray[np.float64]:
    """(n, C) prior of each candidate at each site; nothing is expected on the other sublattice."""
    return _at_sites(candidates, sublattice, classes.priors(candidates, prevalence))


def _at_sites(
    candidates: tuple[Candidate, ...], sublattice: NDArray[np.int8], rates: Sequence[float]
) -> NDArray[np.float64]:
    codes = np.array(classes.sublattice_codes(candidates))
    prior: NDArray[np.float64] = np.array(rates) * (codes == np.asarray(sublattice)[:, None])
    return prior


def verdict(
    evidence: SiteEvidence,
    context: ImagingContext,
    thresholds: Thresholds,
    sets: ConformalSets,
) -> FrameResult:
    """What is said of every site; which frame, engine and model it was are left for the caller to fill in."""
    candidates = context.candidates
    sites, calibration, scatter = evidence.sites, evidence.scale.calibration, evidence.scale.scatter
    words: list[str] = []
    prevalence = context.expected.prevalence
    if context.expected.from_image:
        judged = evidence.obstacle == 0
        found = estimate(evidence.log_likelihood[judged], sites.sublattice[judged], candidates, prevalence)
        prevalence = found.prevalence
        words.append(f"Prior estimated from the image: {', '.join(str(r) for r in found.rates)}.")
    rates = classes.priors(candidates, prevalence)
    prior = _at_sites(candidates, sites.sublattice, rates)
    posterior = posterior_from(evidence.log_likelihood, prior)
    # A set is only named where no species is sure.
    held, unsure = np.ones(posterior.shape, np.bool_), posterior.max(axis=1) < thresholds.species
    log_dose = evidence.log_dose + np.log10(evidence.frames[unsure])
    held[unsure] = sets.sets(posterior[unsure], log_dose, thresholds.set_coverage)
    dose = scatter.dose_e_per_angstrom2 * evidence.frames
    verdicts = decide(posterior, candidates, evidence.obstacle, thresholds, dose, held, evidence.withheld)
    return FrameResult(
        frame=FrameIdentity(),
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
        prior=rates,
        warnings=(
            *evidence.warnings,
            *words,
            *_hidden_words(evidence),
            *(f"{why}." for _, why in evidence.withheld),
        ),
        calibration=CalibrationSummary(
            pixel_size_angstrom=sites.pixel_size_angstrom,
            gain=calibration.gain,
            background=calibration.background,
            sigma_angstrom=calibration.sigma_angstrom,
            dose_e_per_angstrom2=scatter.dose_e_per_angstrom2,
            ratio_measured=calibration.ratio * calibration.expected_ratio,
            ratio_expected=calibration.expected_ratio,
            amplitude_sd=scatter.nuisance.amplitude,
            jitter_angstrom=scatter.nuisance.jitter_angstrom,
        ),
    )


def _hidden_words(evidence: SiteEvidence) -> list[str]:
    if not evidence.hidden:
        return []
    named = ", ".join(f"{defect} from {own}" for defect, own in evidence.hidden)
    return [f"Cannot be told apart at this dose: {named}."]


def refused(
    refusal: Refusal, context: ImagingContext, candidates: tuple[Candidate, ...], frame: FrameIdentity
) -> FrameResult:
    """A result without sites."""
    return FrameResult(
        frame=frame,
        context=context,
        candidates=candidates,
        sites=SiteTable.empty(len(candidates)),
        refusal=refusal,
        engine=EngineInfo("none", ""),
    )
