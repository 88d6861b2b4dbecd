"""From lattice-registered patches of one detector to the likelihood of every candidate at every site."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FITTING_RATIO, FrameCalibration, calibrate
from stemctx_core.calibration.host_check import check_host
from stemctx_core.calibration.scatter import Scatter, measure_scatter
from stemctx_core.chemistry import materials
from stemctx_core.classifier.classifier import Classifier
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.features import features_of, projection
from stemctx_core.contrast.mean_patches import flattened
from stemctx_core.encoding.knowledge import Knowledge
from stemctx_core.encoding.prediction import Predictions, predict
from stemctx_core.errors import FrameError
from stemctx_core.judging import unknown
from stemctx_core.judging.calibrated import CalibratedFrame
from stemctx_core.judging.decision import OBSTACLES, UNKNOWN
from stemctx_core.judging.noisy import noisy_scene
from stemctx_core.judging.observation import FrameScale, Observation
from stemctx_core.judging.separation import hidden_defects
from stemctx_core.judging.twins import without_twins
from stemctx_core.judging.view import Sites, View
from stemctx_core.judging.withheld import Withheld, withheld_by_features
from stemctx_core.kernels.whitened import squares
from stemctx_core.lattice import SiteGrid
from stemctx_core.scene import Missing, Nuisance, Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary

_ROUNDING: Final = 0.0025


@dataclass(frozen=True)
class SiteEvidence:
    """Everything about the sites of a frame, or of several of one field, before it is decided what to say.

    Attributes
    ----------
    scale
        What the frame says of itself; the dose is that of a single frame.
    log_dose
        Logarithm to base 10 of electrons per Å² times the peak of the brighter host column, as the model knows it,
        of a single frame.
    frames
        (n,) int32 frames behind each site.
    unfitness
        Whitened distance of a typical site from its best candidate, mean square a feature; 1 is noise alone.
    log_likelihood
        (n, C) of the sites; rows of sites that are not judged are zero.
    obstacle
        (n,) int8 index into `stemctx_core.judging.decision.OBSTACLES`: why a site is not judged, 0 where it is.
    hidden
        Defects that this dose cannot show, each with the host's column.
    grid
        The lattice, to be followed in the next frame; None where only patches were given.
    withheld
        Species that are not called in this frame, each with the reason.
    """

    sites: Sites
    scale: FrameScale
    log_dose: float
    frames: NDArray[np.int32]
    unfitness: float
    log_likelihood: NDArray[np.float32]
    obstacle: NDArray[np.int8]
    warnings: tuple[str, ...]
    hidden: tuple[tuple[str, str], ...] = ()
    grid: SiteGrid | None = None
    withheld: Withheld = ()


class EvidenceMaker:
    """Turns views into evidence.

    Parameters
    ----------
    classifier
        Model and engine.
    library
        Column responses.
    nuisance
        Uncertainties that a frame cannot show itself.
    needed_probability
        At which a site is flagged; only for what is said of defects that this dose cannot show.
    """

    def __init__(
        self,
        classifier: Classifier,
        library: ResponseLibrary,
        nuisance: Nuisance,
        needed_probability: float,
    ) -> None:
        self._classifier = classifier
        self._library = library
        self._nuisance = nuisance
        self._needed_probability = needed_probability
        # Frames of one field differ by less than the rounding, so that their predictions are made once.
        self._predict = lru_cache(maxsize=16)(partial(predict, library))
        self._noisy = lru_cache(maxsize=32)(noisy_scene)

    def evidence(self, view: View, timing: dict[str, float], scale: FrameScale | None = None) -> SiteEvidence:
        """Likelihood of every candidate at every site that can be judged.

        Parameters
        ----------
        scale
            Of the rows that were judged before; the view is measured itself where left out.

        Raises
        ------
        FrameError, LibraryError, InputError
            Why the frame cannot be judged.
        """
        return self.likelihood(self.observe(view, timing, scale), timing, scale)

    def observe(
        self,
        view: View,
        timing: dict[str, float],
        scale: FrameScale | None = None,
        calibrated: CalibratedFrame | None = None,
    ) -> Observation:
        """The view in units of the frame's own columns; other parameters and errors as of `evidence`.

        Parameters
        ----------
        calibrated
            An earlier frame (`Observation.calibrated`), whose calibration is taken where it still holds.
        """
        with timed(timing, "calibration"):
            measured = features_of(view.discs)
            if scale is not None:
                return self._in_units(view, measured, scale.calibration)
            if calibrated is not None:
                seen = self._in_units(view, measured, calibrated.calibration)
                if calibrated.holds(seen.features, seen.sites.sublattice[seen.judged]):
                    return replace(seen, calibrated=calibrated)
            host = materials.host(view.context.host)
            kept, of_kept = without_twins(view, measured)
            judged = kept.obstacle == 0
            sublattice, positions_px = kept.sites.sublattice[judged], kept.sites.positions_px[judged]
            flat, means = flattened(kept.discs, of_kept, sublattice, positions_px)
            calibration = calibrate(self._library, host, view.known.optics, means)
            check_host(self._library, host, view.known.plausible, calibration, view.pixel_size_off)
            seen = self._in_units(kept, flat, calibration)
            if flat is not measured:
                return seen  # what was taken off this frame may be different in the next
            return replace(seen, calibrated=CalibratedFrame(calibration, seen.features, sublattice))

    def _in_units(
        self, view: View, measured: NDArray[np.float32], calibration: FrameCalibration
    ) -> Observation:
        """Features as measured, in units of the reference."""
        predictions = self.predictions(view.context, view.known, calibration)
        unit = calibration.gain * predictions.scene_reference
        # Features are linear: they are taken of the discs as they came, and calibrated themselves.
        features = measured - np.float32(calibration.background) * _of_a_constant()
        features *= np.float32(1 / unit)
        return Observation(
            sites=view.sites,
            obstacle=view.obstacle,
            context=view.context,
            features=features,
            frames=np.ones(len(features), np.int32),
            calibration=calibration,
            predictions=predictions,
            level=calibration.background / unit,
            warnings=(
                *view.warnings,
                *view.known.warnings,
                *([] if view.known.missing else _ratio_words(calibration)),
            ),
            grid=view.grid,
        )

    def likelihood(
        self,
        seen: Observation,
        timing: dict[str, float],
        scale: FrameScale | None = None,
        *,
        doubtful_only: bool = False,
    ) -> SiteEvidence:
        """What was seen, in one frame or several, as the likelihood of every candidate; errors as of `evidence`.

        Parameters
        ----------
        doubtful_only
            Whether sites that are the host's beyond doubt may be called so without the network, as of
            `stemctx_core.classifier.Classifier.log_likelihood_of_features`.
        """
        candidates, predictions, judged = seen.context.candidates, seen.predictions, seen.judged
        # Noise is measured where most sites have as many frames, and follows from their number elsewhere.
        usual = seen.usual_frames
        with timed(timing, "calibration"):
            if scale is None:
                single = _exposed(self._scatter(seen, seen.frames == usual), 1 / usual)
            else:
                single = scale.scatter
            noisy = self._noisy(predictions, _exposed(single, usual))
            expected = seen.context.expected.prevalence
            hidden = hidden_defects(candidates, noisy.gained, expected, self._needed_probability)
            most = seen.frames == usual
            kinds = seen.sites.sublattice[judged][most]
            not_called = withheld_by_features(
                _of(seen.features, most), kinds, predictions, candidates, noisy.covariances
            )
        log_likelihood = np.zeros((len(seen.obstacle), len(candidates)), np.float32)
        obstacle, unfitness = seen.obstacle.copy(), 1.0
        with timed(timing, "posterior"):
            for count in np.unique(seen.frames):
                here = seen.frames == count
                noisy = self._noisy(predictions, _exposed(single, int(count)))
                features = _of(seen.features, here)
                kinds = seen.sites.sublattice[judged[here]]
                encoded = noisy.encoded
                away = squares(features, kinds, encoded.sublattice, encoded.mean, encoded.whiten)
                told = self._classifier.log_likelihood_of_features(
                    features, encoded, kinds, away if doubtful_only else None
                )
                far = unknown.distances(features, told.argmax(axis=1), away, encoded, noisy.loosened)
                log_likelihood[judged[here]] = told
                obstacle[judged[here][far.unlike]] = OBSTACLES.index(UNKNOWN)
                unfitness = far.usual if count == usual else unfitness
            _check_share(obstacle[judged] != 0, materials.host(seen.context.host).name)
        frames = np.ones(len(obstacle), np.int32)
        frames[judged] = seen.frames
        return SiteEvidence(
            sites=seen.sites,
            scale=FrameScale(seen.calibration, single),
            log_dose=float(np.log10(single.dose_e_per_angstrom2 * predictions.reference)),
            frames=frames,
            unfitness=unfitness,
            log_likelihood=log_likelihood,
            obstacle=obstacle,
            warnings=seen.warnings,
            hidden=tuple(hidden),
            grid=seen.grid,
            withheld=not_called,
        )

    def predictions(
        self, context: ImagingContext, known: Knowledge, calibration: FrameCalibration
    ) -> Predictions:
        """What every candidate looks like; values are rounded, so that frames of one field share their predictions."""
        scene = Scene(
            host=materials.host(context.host),
            candidates=context.candidates,
            optics=replace(known.optics, sigma_angstrom=_rounded(calibration.sigma_angstrom)),
            dose_e_per_angstrom2=1.0,
            background=0.0,
            ratio=_rounded(calibration.ratio),
            nuisance=replace(self._nuisance, defects=_rounded(calibration.defects)),
            missing=known.missing if known.missing or fits(calibration) else frozenset({Missing.DETECTOR}),
        )
        return self._predict(scene)

    def _scatter(self, seen: Observation, chosen: NDArray[np.bool_]) -> Scatter:
        """Noise and random nuisances of some of the sites."""
        return measure_scatter(
            seen.predictions,
            _of(seen.features, chosen),
            seen.sites.sublattice[seen.judged][chosen],
            host_rows(seen.context.candidates),
            seen.level,
            seen.predictions.scene.nuisance,
        )


@contextmanager
def timed(timing: dict[str, float], step: str) -> Iterator[None]:
    """Add the milliseconds of a step to what it took before."""
    started = time.perf_counter_ns()
    yield
    timing[step] = timing.get(step, 0.0) + (time.perf_counter_ns() - started) / 1e6


@lru_cache(maxsize=1)
def _of_a_constant() -> NDArray[np.float32]:
    """(K,) features of a patch that is 1 everywhere."""
    constant: NDArray[np.float32] = projection().sum(axis=1).astype(np.float32)
    return constant


def fits(calibration: FrameCalibration) -> bool:
    """Whether the frame's X2/M is one that the declared detector gives."""
    return FITTING_RATIO[0] < calibration.ratio < FITTING_RATIO[1]


def _ratio_words(calibration: FrameCalibration) -> list[str]:
    if fits(calibration):
        return []
    return [
        f"X2/M is {calibration.ratio * calibration.expected_ratio:.2f} in the frame, "
        f"{calibration.expected_ratio:.2f} is expected: the declared detector angles may not be the real ones. "
        "Candidates are averaged over the angles that would give it."
    ]


def _check_share(unlike: NDArray[np.bool_], host: str) -> None:
    share = float(np.mean(unlike)) if len(unlike) else 0.0
    if share > unknown.LARGEST_SHARE:
        raise FrameError(
            "unlike",
            f"{share:.0%} of the sites are like none of the candidates of {host}.",
            "Check the host and that this is a clean monolayer, or choose another field.",
        )


def _rounded(value: float) -> float:
    """To a step that is small beside the error that the value is taken to have."""
    return round(value / _ROUNDING) * _ROUNDING


def _exposed(scatter: Scatter, factor: float) -> Scatter:
    """The same sites at another dose."""
    return replace(scatter, dose_e_per_angstrom2=scatter.dose_e_per_angstrom2 * factor)


def _of(rows: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Some of the rows, not copied where they are all."""
    return rows if chosen.all() else rows[chosen]
