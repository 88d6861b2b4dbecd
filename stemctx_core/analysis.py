"""One frame from its intensities to what is said of every site. No state, no wire, no window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Candidate
from stemctx_core.classifier.classifier import Classifier, load_bundle
from stemctx_core.classifier.engine import Engine
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.errors import FrameError, InputError, LibraryError
from stemctx_core.judging.conformal import ConformalSets
from stemctx_core.judging.decision import Thresholds
from stemctx_core.judging.detectors import clearest_first
from stemctx_core.judging.evidence import EvidenceMaker, SiteEvidence, timed
from stemctx_core.judging.frame_evidence import FrameEvidence
from stemctx_core.judging.pairing import combine
from stemctx_core.judging.trained import TrainedRanges
from stemctx_core.judging.verdict import refused, verdict
from stemctx_core.judging.view import view_of_patches
from stemctx_core.lattice import SiteGrid
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult, Refusal
from stemctx_core.scene import Nuisance
from stemctx_core.simulation.library import ResponseLibrary, shipped_library


class FrameAnalyzer(FrameEvidence):
    """Judges frames: what they show is found as by `FrameEvidence`, and what is said of it here.

    Parameters
    ----------
    classifier
        Model and engine.
    library
        Column responses.
    thresholds
        When a site is flagged.
    nuisance
        Uncertainties that a frame cannot show itself.
    """

    def __init__(
        self,
        classifier: Classifier,
        library: ResponseLibrary | None = None,
        thresholds: Thresholds | None = None,
        nuisance: Nuisance | None = None,
    ) -> None:
        self.classifier = classifier
        self.thresholds = thresholds or Thresholds()
        self.nuisance = nuisance or Nuisance()
        library = library or shipped_library()
        card = classifier.bundle.card
        maker = EvidenceMaker(classifier, library, self.nuisance, self.thresholds.defect)
        super().__init__(library, maker, TrainedRanges.from_card(card))
        self._sets = ConformalSets.from_card(card)

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
            found = self.evidence(image, context, timing, previous)
            return self._refined([(image, context)], [found], found, timing) if thorough else found

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
            ordered = clearest_first(self.library, seen, self._known)
            used[0] = ordered[0][1]
            each = self._of_detectors(ordered, timing)
            merged = combine(each, used[0].candidates)
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

    def analyze_patches(
        self,
        patches: CutPatches,
        context: ImagingContext,
        frame: FrameIdentity,
    ) -> FrameResult:
        """Judge lattice-registered patches that somebody else cut."""
        timing: dict[str, float] = {}

        def evidence() -> SiteEvidence:
            return self._maker.evidence(view_of_patches(patches, context, self._known(context)), timing)

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
        told = refused(refusal, context, candidates, frame)
        return replace(told, engine=self.engine_info, model=self.model_name, timing_ms=timing)

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
            told = verdict(evidence, context, self.thresholds, self._sets)
        return replace(
            told,
            frame=frame,
            engine=self.engine_info,
            model=self.model_name,
            timing_ms=timing,
            frames_accumulated=frames_accumulated,
        )


def _rows(image: NDArray[Any]) -> int:
    return int(image.shape[0]) if image.ndim == 2 else 0


def _shape(image: NDArray[Any]) -> tuple[int, int]:
    return (int(image.shape[0]), int(image.shape[1])) if image.ndim == 2 else (0, 0)
