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

from stemctx_core import materials, unknown
from stemctx_core.calibration import FITTING_RATIO, FrameCalibration, calibrate, flatten, measure_scatter
from stemctx_core.classes import Role
from stemctx_core.classifier import Classifier
from stemctx_core.decision import OBSTACLES, UNKNOWN
from stemctx_core.encoding import Nuisance, Scene, assemble, host_rows, predict
from stemctx_core.errors import FrameError
from stemctx_core.features import projection
from stemctx_core.host_check import check_host
from stemctx_core.lattice import SiteGrid
from stemctx_core.separation import hidden_defects
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.view import Sites as Sites
from stemctx_core.view import View as View

_ROUNDING: Final = 0.0025


@dataclass(frozen=True)
class SiteEvidence:
    """Everything about the sites of a frame before it is decided what to say.

    Attributes
    ----------
    log_likelihood
        (n, C) of the sites; rows of sites that are not judged are zero.
    obstacle
        (n,) int8 index into `stemctx_core.decision.OBSTACLES`: why a site is not judged, 0 where it is.
    log_dose
        Logarithm to base 10 of electrons per Å² times the peak of the brighter host column, as the model knows it.
    hidden
        Defects that this dose cannot show, each with the host's column.
    grid
        The lattice, to be followed in the next frame; None where only patches were given.
    """

    sites: Sites
    calibration: FrameCalibration
    dose_e_per_angstrom2: float
    log_dose: float
    nuisance: Nuisance
    log_likelihood: NDArray[np.float32]
    obstacle: NDArray[np.int8]
    warnings: tuple[str, ...]
    hidden: tuple[tuple[str, str], ...] = ()
    grid: SiteGrid | None = None


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
    prevalence, needed_probability
        How often each role is met, and the probability at which a site is flagged; both only for what is said of
        defects that this dose cannot show.
    """

    def __init__(
        self,
        classifier: Classifier,
        library: ResponseLibrary,
        nuisance: Nuisance,
        prevalence: dict[Role, float] | None,
        needed_probability: float,
    ) -> None:
        self._classifier = classifier
        self._library = library
        self._nuisance = nuisance
        self._prevalence = prevalence
        self._needed_probability = needed_probability
        # Frames of one field differ by less than the rounding, so that their predictions are made once.
        self._predict = lru_cache(maxsize=16)(partial(predict, library))

    def evidence(self, view: View, timing: dict[str, float]) -> SiteEvidence:
        """Likelihood of every candidate at every site that can be judged.

        Raises
        ------
        FrameError, LibraryError, InputError
            Why the frame cannot be judged.
        """
        host, candidates = materials.host(view.context.host), view.context.candidates
        judged = view.obstacle == 0
        sublattice = view.sites.sublattice[judged]
        optics = view.known.optics
        warnings = [*view.warnings, *view.known.warnings]
        with timed(timing, "calibration"):
            kept = flatten(view.patches[judged], sublattice, view.sites.positions_px[judged])
            calibration = calibrate(self._library, host, optics, kept, sublattice)
            check_host(self._library, host, view.known.plausible, calibration, view.pixel_size_off)
            warnings += [] if view.known.missing else _ratio_words(calibration)
            predictions = self._predict(self._scene(view, calibration))
            unit = calibration.gain * predictions.scene_reference
            # In place: the patches of a large frame are most of the memory that is used.
            kept -= np.float32(calibration.background)
            kept *= np.float32(1 / unit)
            features = kept @ projection().T.astype(np.float32)
            level = calibration.background / unit
            nuisance = replace(self._nuisance, defects=_rounded(calibration.defects))
            scatter = measure_scatter(predictions, features, sublattice, host_rows(candidates), level, nuisance)
            noise = scatter.nuisance, scatter.dose_e_per_angstrom2, scatter.background
            encoded = assemble(predictions, *noise, sigma_includes_scatter=True)
            hidden = hidden_defects(
                predictions.candidates, candidates, *noise, self._prevalence, self._needed_probability
            )
        with timed(timing, "posterior"):
            log_likelihood = np.zeros((len(judged), len(candidates)), np.float32)
            log_likelihood[judged] = self._classifier.log_likelihood(kept, encoded)
            best = log_likelihood[judged].argmax(axis=1)
            unlike = unknown.distances(features, best, encoded, predictions, candidates, *noise).unlike
            _check_share(unlike, host.name)
            obstacle = view.obstacle.copy()
            obstacle[np.flatnonzero(judged)[unlike]] = OBSTACLES.index(UNKNOWN)
        return SiteEvidence(
            sites=view.sites,
            calibration=calibration,
            dose_e_per_angstrom2=scatter.dose_e_per_angstrom2,
            log_dose=float(encoded.log_dose[0]),
            nuisance=scatter.nuisance,
            log_likelihood=log_likelihood,
            obstacle=obstacle,
            warnings=tuple(warnings),
            hidden=tuple(hidden),
            grid=view.grid,
        )

    def _scene(self, view: View, calibration: FrameCalibration) -> Scene:
        """Rounded, so that frames of one field share their predictions."""
        return Scene(
            host=materials.host(view.context.host),
            candidates=view.context.candidates,
            optics=replace(view.known.optics, sigma_angstrom=_rounded(calibration.sigma_angstrom)),
            dose_e_per_angstrom2=1.0,
            background=0.0,
            ratio=_rounded(calibration.ratio),
            nuisance=replace(self._nuisance, defects=_rounded(calibration.defects)),
            missing=view.known.missing,
        )


@contextmanager
def timed(timing: dict[str, float], step: str) -> Iterator[None]:
    """Add the milliseconds of a step to what it took before."""
    started = time.perf_counter_ns()
    yield
    timing[step] = timing.get(step, 0.0) + (time.perf_counter_ns() - started) / 1e6


def _ratio_words(calibration: FrameCalibration) -> list[str]:
    if FITTING_RATIO[0] < calibration.ratio < FITTING_RATIO[1]:
        return []
    return [
        f"X2/M is {calibration.ratio * calibration.expected_ratio:.2f} in the frame, "
        f"{calibration.expected_ratio:.2f} is expected: the declared detector angles may not be the real ones."
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
