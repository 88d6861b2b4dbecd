"""Evidence of several frames of one field, per site: confidence grows with dose.

Frames are registered by their own site grids, so that drift needs no image correlation. Counting noise of two frames
is independent, what stands at a site is not: log-likelihoods add up, up to a number of frames beyond which errors
that all frames share (the simulated response, the declared context) would pretend to certainty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core import materials
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext
from stemctx_core.evidence import SiteEvidence, Sites
from stemctx_core.patches import CutPatches
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult

#: Sites of two frames are the same within this part of the lattice constant, after the shift is taken off.
_SAME_SITE: Final = 0.25
#: Fraction of sites that must be found again for the field to be the same.
_SAME_FIELD: Final = 0.6
#: A site whose evidence turns against its own past by this much (nats) has changed and starts anew.
_CHANGED: Final = 12.0
_MOST_FRAMES: Final = 16


@dataclass(frozen=True)
class FieldEvidence:
    """Accumulated evidence of a field.

    Attributes
    ----------
    latest
        The newest frame, its log-likelihoods replaced by the sums.
    frames
        (n,) frames behind each site.
    """

    latest: SiteEvidence
    frames: NDArray[np.int32]


class FieldMemory:
    """An analyzer for one stream of frames that adds up the evidence of one field.

    Evidence is kept while field of view, host, candidates and every imaging condition stay as they are; only whole
    frames count, so that the rows of a frame that is being scanned are not counted twice.

    Parameters
    ----------
    analyzer
        Judges single frames; may be shared.
    """

    def __init__(self, analyzer: FrameAnalyzer) -> None:
        self._analyzer = analyzer
        self._field: FieldEvidence | None = None
        self._key: object = None

    @property
    def model_name(self) -> str:
        """As of the analyzer."""
        return self._analyzer.model_name

    @property
    def model_sha256(self) -> str:
        """As of the analyzer."""
        return self._analyzer.model_sha256

    @property
    def engine_info(self) -> EngineInfo:
        """As of the analyzer."""
        return self._analyzer.engine_info

    def analyze_patches(
        self, patches: CutPatches, context: ImagingContext, frame: FrameIdentity
    ) -> FrameResult:
        """Judge patches by themselves."""
        return self._analyzer.analyze_patches(patches, context, frame)

    def analyze(
        self, image: NDArray[Any], context: ImagingContext, frame: FrameIdentity | None = None
    ) -> FrameResult:
        """Judge a frame with the evidence of the frames of this field before it."""
        if frame is None or frame.valid_rows < frame.shape[0]:
            return self._analyzer.analyze(image, context, frame)
        key = (context, image.shape)
        past = self._field if key == self._key else None
        timing: dict[str, float] = {}
        field: list[FieldEvidence] = []

        def evidence() -> SiteEvidence:
            new = self._analyzer.evidence(image, context, timing)
            field.append(accumulate(past, new, materials.host(context.host).a_angstrom))
            return field[0].latest

        result = self._analyzer.judge(evidence, context, frame, timing)
        self._field, self._key = (field[0] if field else None), key
        if not field:
            return result
        counted = field[0].frames[field[0].frames > 0]
        return replace(result, frames_accumulated=int(np.median(counted)) if len(counted) else 1)


def accumulate(past: FieldEvidence | None, new: SiteEvidence, lattice_angstrom: float) -> FieldEvidence:
    """Add a frame to the evidence of its field; start anew where it shows another field.

    A drift of up to half a lattice constant between frames is followed; a larger one cannot be told from a shorter
    one by the lattice alone, and changed sites then start anew one by one.

    Parameters
    ----------
    past
        What is known of the field, or None.
    new
        The frame.
    lattice_angstrom
        Lattice constant of the host.
    """
    judged = new.obstacle == 0
    count = judged.astype(np.int32)
    if past is None or past.latest.log_likelihood.shape[1:] != new.log_likelihood.shape[1:]:
        return FieldEvidence(new, count)
    old = past.latest
    if not abs(old.sites.pixel_size_angstrom / new.sites.pixel_size_angstrom - 1) < 0.02:
        return FieldEvidence(new, count)
    lattice_px = lattice_angstrom / new.sites.pixel_size_angstrom
    shift = _shift(old.sites, new.sites, lattice_px)
    distance, nearest = cKDTree(old.sites.positions_px + shift).query(new.sites.positions_px)
    same = (distance < _SAME_SITE * lattice_px) & (old.sites.sublattice[nearest] == new.sites.sublattice)
    same &= judged & (past.frames[nearest] > 0)
    if np.count_nonzero(same) < _SAME_FIELD * np.count_nonzero(judged):
        return FieldEvidence(new, count)
    before = old.log_likelihood[nearest]
    now = new.log_likelihood
    same &= ~_contradicts(before, now)
    frames = np.where(same, past.frames[nearest] + 1, count)
    fading = np.where(frames > _MOST_FRAMES, (_MOST_FRAMES - 1) / _MOST_FRAMES, 1.0)[:, None]
    total = np.where(same[:, None], before * fading + now, now).astype(np.float32)
    total -= total.max(axis=1, keepdims=True)
    frames = np.minimum(frames, _MOST_FRAMES).astype(np.int32)
    return FieldEvidence(replace(new, log_likelihood=total), frames)


def _shift(old: Sites, new: Sites, lattice_px: float) -> NDArray[np.float64]:
    """Median displacement of the sites from one frame to the next, to the nearest site of the same sublattice."""
    moves = []
    for code in (0, 1):
        before = old.positions_px[old.sublattice == code]
        after = new.positions_px[new.sublattice == code]
        if len(before) and len(after):
            distance, nearest = cKDTree(before).query(after)
            close = distance < lattice_px / 2
            moves.append(after[close] - before[nearest[close]])
    shift: NDArray[np.float64] = np.median(np.concatenate(moves), axis=0)
    return shift


def _contradicts(before: NDArray[np.float32], now: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a new frame speaks strongly against what the frames before it said."""
    said = before.argmax(axis=1)
    against: NDArray[np.bool_] = (
        now.max(axis=1) - np.take_along_axis(now, said[:, None], axis=1)[:, 0] > _CHANGED
    )
    return against
