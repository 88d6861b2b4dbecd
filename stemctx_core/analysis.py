"""One frame from its intensities to what is said of every site. No state, no wire, no window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core import materials
from stemctx_core.classes import Candidate
from stemctx_core.classifier import Classifier, load_bundle
from stemctx_core.conformal import ConformalSets
from stemctx_core.context import ImagingContext, Known
from stemctx_core.decision import Thresholds
from stemctx_core.encoding import Nuisance, host_columns
from stemctx_core.engine import Engine
from stemctx_core.errors import FrameError, InputError, LibraryError
from stemctx_core.evidence import EvidenceMaker, SiteEvidence, timed
from stemctx_core.frame_checks import check_image
from stemctx_core.knowledge import Knowledge, knowledge
from stemctx_core.lattice import SiteGrid
from stemctx_core.observation import FrameScale, Observation
from stemctx_core.pairing import combine
from stemctx_core.patches import SAMPLES, CutPatches, PatchRoom
from stemctx_core.prevalence import check_prevalence
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult, Refusal
from stemctx_core.simulation.library import ResponseLibrary, shipped_library
from stemctx_core.simulation.render import response_tables
from stemctx_core.trained import TrainedRanges
from stemctx_core.verdict import refused, verdict
from stemctx_core.verdict import site_prior as site_prior
from stemctx_core.view import Sites, View, lattice, view


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
        How often each role or species is met; the benchmark's real prevalence by default.
    nuisance
        Uncertainties that a frame cannot show itself.
    estimate_prevalence
        Whether every frame's own rates are found first, from those; see `stemctx_core.prevalence`.
    """

    def __init__(
        self,
        classifier: Classifier,
        library: ResponseLibrary | None = None,
        thresholds: Thresholds | None = None,
        prevalence: Mapping[str, float] | None = None,
        nuisance: Nuisance | None = None,
        estimate_prevalence: bool = False,
    ) -> None:
        self.classifier = classifier
        self.library = library or shipped_library()
        self.thresholds = thresholds or Thresholds()
        self.prevalence = prevalence
        self.estimate_prevalence = estimate_prevalence
        self.nuisance = nuisance or Nuisance()
        self._maker = EvidenceMaker(classifier, self.library, self.nuisance, prevalence, self.thresholds.defect)
        self._room = PatchRoom()
        self._sets = ConformalSets.from_card(classifier.bundle.card)
        self._trained = TrainedRanges.from_card(classifier.bundle.card)
        self._last_known: tuple[ImagingContext, Knowledge] | None = None

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
        previous: SiteGrid | None = None,
        *,
        thorough: bool = False,
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
        previous
            Lattice of the frame before it, see `evidence`.
        thorough
            Whether to solve for all columns at once, which takes seconds: for files, see `stemctx_core.refining`.
        """
        identity = frame or FrameIdentity(valid_rows=_rows(image), shape=_shape(image))
        timing: dict[str, float] = {}

        def evidence() -> SiteEvidence:
            told = self.evidence(image, context, timing, previous)
            return self._refined([(image, context)], [told], told, timing) if thorough else told

        return self.judge(evidence, context, identity, timing)

    def analyze_detectors(
        self,
        seen: Sequence[tuple[NDArray[Any], ImagingContext]],
        frame: FrameIdentity | None = None,
        *,
        thorough: bool = False,
    ) -> FrameResult:
        """Judge one scan that several detectors saw, such as HAADF and MAADF, by all of them together.

        Parameters
        ----------
        seen
            Image and context of each detector; images of one shape, contexts that differ in nothing but the angles
            and the channel. The sites are found by the detector that shows both sublattices best, and the result
            carries its context.
        frame
            Which frame it is.
        thorough
            As of `analyze`.
        """
        timing: dict[str, float] = {}
        if not seen:
            raise InputError("No detector was given. Give an image and its context for each.")
        image, context = seen[0]
        identity = frame or FrameIdentity(valid_rows=_rows(image), shape=_shape(image))
        used = [context]

        def evidence() -> SiteEvidence:
            ordered = self._clearest_first(seen)
            image, used[0] = ordered[0]
            context = used[0]
            with timed(timing, "sites"):
                grid = lattice(image, context, self._known(context))
            each = []
            for seen_image, seen_context in ordered:
                with timed(timing, "patches"):
                    viewed = view(seen_image, grid, seen_context, self._known(seen_context), self._room)
                each.append(self._maker.evidence(viewed, timing))
            merged = combine(each, context.candidates)
            return self._refined(ordered, each, merged, timing) if thorough else merged

        result = self.judge(evidence, context, identity, timing)
        return replace(result, context=used[0])

    def _refined(
        self,
        seen: Sequence[tuple[NDArray[Any], ImagingContext]],
        each: Sequence[SiteEvidence],
        merged: SiteEvidence,
        timing: dict[str, float],
    ) -> SiteEvidence:
        """The evidence by the amplitudes of all columns, solved for at once."""
        from stemctx_core.refining.thorough import Seen, refine

        with timed(timing, "refining"):
            frames = [Seen(image, c, self._known(c), e) for (image, c), e in zip(seen, each, strict=True)]
            return refine(self.library, frames, merged).evidence

    def _clearest_first(
        self, seen: Sequence[tuple[NDArray[Any], ImagingContext]]
    ) -> list[tuple[NDArray[Any], ImagingContext]]:
        """Detectors of one scan, the one that shows the fainter sublattice best before the others."""
        image, context = seen[0]
        clearness = []
        for other_image, other in seen:
            same = _as_of(other, context)
            if other_image.shape != image.shape or same != context:
                raise FrameError(
                    "different_scans",
                    "The detectors' images differ in shape, or their contexts in more than angles and channel.",
                    "Give images of one scan, each with the context of its detector.",
                )
            check_image(other_image)
            columns = host_columns(materials.host(other.host))
            peaks = response_tables(self.library, columns, self._known(other).optics)[:, 0]
            clearness.append(float(peaks.min() / np.sqrt(peaks.mean())))
        order = sorted(range(len(seen)), key=lambda k: -clearness[k])
        return [seen[k] for k in order]

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
            known = self._known(context)
            if not np.isfinite(values).all():
                raise FrameError("not_finite", "Some patches hold NaN or infinity.", "Leave those patches out.")
            obstacle = np.zeros(len(values), np.int8)
            return self._maker.evidence(View(values, sites, obstacle, context, known, None), timing)

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
            check_prevalence(self.prevalence or {}, candidates)
            evidence = find_evidence()
        except FrameError as error:
            refusal = Refusal(error.code, error.reason, error.fix)
        except LibraryError as error:
            refusal = Refusal("outside_library", str(error), "See the reason.")
        except InputError as error:
            refusal = Refusal("bad_context", str(error), "Correct the imaging context.")
        else:
            return self.conclude(evidence, context, frame, timing, frames_accumulated)
        told = refused(refusal, context, candidates, frame)
        return replace(told, engine=self.engine_info, model=self.model_name, timing_ms=timing)

    def evidence(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float] | None = None,
        previous: SiteGrid | None = None,
    ) -> SiteEvidence:
        """Sites of a frame with the likelihood of every candidate.

        Parameters
        ----------
        timing
            Milliseconds of each step are added to it.
        previous
            Lattice of the frame before it (`SiteEvidence.grid`), followed where it still fits; else, and without
            one, the lattice is found anew.

        Raises
        ------
        FrameError, LibraryError, InputError
            Why the frame cannot be judged.
        """
        timing = {} if timing is None else timing
        return self._maker.likelihood(self.observe(image, context, timing, previous), timing)

    def observe(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float],
        previous: SiteGrid | None = None,
    ) -> Observation:
        """What a frame shows of each site; parameters and errors as of `evidence`."""
        grid = self.sites(image, context, timing, previous)
        with timed(timing, "patches"):
            viewed = view(image, grid, context, self._known(context), self._room)
        return self._maker.observe(viewed, timing)

    def likelihood(self, seen: Observation, timing: dict[str, float]) -> SiteEvidence:
        """Likelihood of every candidate for what was seen in one frame or in several of one field.

        It is to be judged as it is: the network is asked about sites that leave a doubt only.
        """
        return self._maker.likelihood(seen, timing, doubtful_only=True)

    def sites(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float],
        previous: SiteGrid | None = None,
    ) -> SiteGrid:
        """The lattice of a frame; parameters and errors as of `evidence`."""
        known = self._known(context)
        check_image(image)
        with timed(timing, "sites"):
            return lattice(image, context, known, previous)

    def evidence_by(
        self,
        scale: FrameScale,
        image: NDArray[Any],
        grid: SiteGrid,
        context: ImagingContext,
        timing: dict[str, float],
    ) -> SiteEvidence:
        """Likelihood of every candidate at the sites of a grid, by what the frame has said of itself before."""
        with timed(timing, "patches"):
            viewed = view(image, grid, context, self._known(context), self._room)
        return self._maker.evidence(viewed, timing, scale)

    def _known(self, context: ImagingContext) -> Knowledge:
        if self._last_known is None or self._last_known[0] != context:
            known = knowledge(self.library, context)
            self._trained.check(known.optics, known.missing)
            self._last_known = context, known
        return self._last_known[1]

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
        with timed(timing, "decision"):
            told = verdict(
                evidence, context, self.prevalence, self.thresholds, self._sets, self.estimate_prevalence
            )
        return replace(
            told,
            frame=frame,
            engine=self.engine_info,
            model=self.model_name,
            timing_ms=timing,
            frames_accumulated=frames_accumulated,
        )


def _as_of(one: ImagingContext, other: ImagingContext) -> ImagingContext:
    """A context with the detector of another one."""
    return msgspec.structs.replace(
        one, inner_mrad=other.inner_mrad, outer_mrad=other.outer_mrad, channel=other.channel
    )


def _rows(image: NDArray[Any]) -> int:
    return int(image.shape[0]) if image.ndim == 2 else 0


def _shape(image: NDArray[Any]) -> tuple[int, int]:
    return (int(image.shape[0]), int(image.shape[1])) if image.ndim == 2 else (0, 0)
