"""Evidence of several frames of one field, per site: confidence grows with dose.

Frames are registered by their own site grids, so that drift needs no image correlation. What is added up are the
features of each site, in units of the frame's own columns: their mean over several frames is what one frame of the
dose of them all would show, and is judged as that. Likelihoods of single frames must not be added up instead: a
column that is displaced, or brighter than most, is so in every frame, and would be counted as evidence again and
again, until sites of the host were flagged and defects taken for others with certainty.

Between two frames only counting noise and the registration differ. A site that differs by more has changed, and
starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.calibration.scatter import Scatter
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.encoding.encode import inverse_factors
from stemctx_core.encoding.prediction import Predictions
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.judging.observation import FrameScale, Observation
from stemctx_core.kernels.robust import medians
from stemctx_core.kernels.whitened import changes
from stemctx_core.scene import Nuisance, host_rows

#: Frames beyond which older ones fade.
MOST_FRAMES: Final = 32
#: Numbers of frames that are told apart; one between two of them counts as the lower.
_STEPS: Final = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32], np.int32)
#: Fewer sites than these, such as come in at the border of a field that drifts, count as the next lower number: the
#: scene is read once for each number.
_FEWEST_TOGETHER: Final = 64
#: Sites of two frames are the same within this part of the lattice constant, after the shift is taken off.
_SAME_SITE: Final = 0.25
#: Fraction of sites that must be found again, unchanged, for the field to be the same.
_SAME_FIELD: Final = 0.6
#: Log-likelihood ratio (nats) of a change to another candidate over none, and mean square of whitened differences
#: over the usual one, beyond which a site has changed. Of unchanged sites fewer than one in 1e4 is beyond.
_CHANGED_NATS: Final = 14.0
_CHANGED_DISTANCE: Final = 4.0
#: Change of source size (Å) and of X2/M (relative) up to which two frames were taken under the same conditions.
_SAME_SIGMA_ANGSTROM: Final = 0.08
_SAME_RATIO: Final = 0.15


@dataclass(frozen=True)
class FieldEvidence:
    """What several frames of a field showed.

    Attributes
    ----------
    seen
        The sites of the newest frame, with the mean features of all.
    counts
        (m,) int32 frames behind each judged site.
    best
        (m,) most probable candidate of each by all of them.
    scale
        Of the newest frame.
    """

    seen: Observation
    counts: NDArray[np.int32]
    best: NDArray[np.intp]
    scale: FrameScale

    @classmethod
    def of(cls, seen: Observation, counts: NDArray[np.int32], told: SiteEvidence) -> FieldEvidence:
        """What is to be remembered of a field when it has been judged."""
        best = told.log_likelihood[seen.judged].argmax(axis=1)
        return cls(seen, counts, best, told.scale)


def accumulate(past: FieldEvidence | None, new: Observation) -> tuple[Observation, NDArray[np.int32]]:
    """Add a frame to what was seen of its field; start anew where it shows another field.

    A drift of up to half a lattice constant between frames is followed; a larger one cannot be told from a shorter
    one by the lattice alone, and too many sites have then changed for the field to be the same.

    Parameters
    ----------
    past
        What is known of the field, or None.
    new
        The frame.

    Returns
    -------
    seen
        The sites of the frame, with what was seen of each in all frames.
    counts
        (m,) int32 frames behind each judged site.
    """
    anew = new, np.ones(len(new.judged), np.int32)
    if past is None or not _same_conditions(past, new):
        return anew
    before, after = _same_sites(past.seen, new)
    if len(after) < _SAME_FIELD * len(new.judged):
        return anew
    same = ~_changed(past, new, before, after)
    if np.count_nonzero(same) < _SAME_FIELD * len(new.judged):
        return anew
    before, after = before[same], after[same]
    counts = np.ones(len(new.judged), np.int32)
    counts[after] = np.minimum(past.counts[before] + 1, MOST_FRAMES)
    share = (1 / counts[after])[:, None].astype(np.float32)
    features = new.features.copy()
    features[after] = past.seen.features[before] * (1 - share) + new.features[after] * share
    return replace(new, features=features, frames=_told_apart(counts)), counts


def _told_apart(counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """(m,) frames that each site is judged as, never more than there are behind it."""
    step = np.searchsorted(_STEPS, counts, side="right") - 1
    sizes = np.bincount(step, minlength=len(_STEPS))
    usual = int(sizes.argmax())
    lower = np.arange(len(_STEPS))
    for k in range(usual - 1, 0, -1):
        if sizes[k] < _FEWEST_TOGETHER and sizes[:k].any():
            sizes[k - 1] += sizes[k]
            lower[lower == k] = k - 1
    frames: NDArray[np.int32] = _STEPS[lower[step]]
    return frames


def _same_conditions(past: FieldEvidence, new: Observation) -> bool:
    old, now = past.seen.calibration, new.calibration
    pixel = past.seen.sites.pixel_size_angstrom / new.sites.pixel_size_angstrom
    return (
        past.seen.context.as_imaged == new.context.as_imaged
        and abs(pixel - 1) < 0.02
        and abs(old.sigma_angstrom - now.sigma_angstrom) < _SAME_SIGMA_ANGSTROM
        and abs(old.ratio / now.ratio - 1) < _SAME_RATIO
    )


def _same_sites(old: Observation, new: Observation) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of features of an old and a new frame that are of the same sites, as many of both."""
    lattice_px = materials.host(new.context.host).a_angstrom / new.sites.pixel_size_angstrom
    were, are = old.sites.positions_px[old.judged], new.sites.positions_px[new.judged]
    kinds = old.sites.sublattice[old.judged], new.sites.sublattice[new.judged]
    if old.grid is not None and new.grid is not None:
        # Cell indices go on while a lattice is followed; where it was found anew they do not.
        known = _key(old.grid.cell_index[old.judged], kinds[0])
        keys = _key(new.grid.cell_index[new.judged], kinds[1])
        _, before, after = np.intersect1d(known, keys, assume_unique=True, return_indices=True)
        if len(after) >= _SAME_FIELD * len(are):
            moves = are[after] - were[before]
            shift = medians(moves.T)
            near = np.hypot(*(moves - shift).T) < _SAME_SITE * lattice_px
            if np.hypot(*shift) < lattice_px / 2 and np.count_nonzero(near) > _SAME_FIELD * len(after):
                return before[near], after[near]
    shift = _shift((were, are), kinds, lattice_px)
    distance, nearest = cKDTree(were + shift).query(are)
    after = np.flatnonzero((distance < _SAME_SITE * lattice_px) & (kinds[0][nearest] == kinds[1]))
    return nearest[after], after


def _key(cell: NDArray[np.int32], sublattice: NDArray[np.int8]) -> NDArray[np.int64]:
    first, second = cell.astype(np.int64).T
    key: NDArray[np.int64] = ((first << 32) + second) * 2 + sublattice
    return key


def _shift(
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    kinds: tuple[NDArray[np.int8], NDArray[np.int8]],
    lattice_px: float,
) -> NDArray[np.float64]:
    """Median displacement of the sites from one frame to the next, to the nearest site of the same sublattice."""
    moves = [np.zeros((1, 2))]
    for code in range(len(Sublattice)):
        before, after = (place[kind == code] for place, kind in zip(places, kinds, strict=True))
        if len(before) and len(after):
            distance, nearest = cKDTree(before).query(after)
            close = distance < lattice_px / 2
            moves.append(after[close] - before[nearest[close]])
    shift: NDArray[np.float64] = np.median(np.concatenate(moves), axis=0)
    return shift


def _changed(
    past: FieldEvidence, new: Observation, before: NDArray[np.intp], after: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether what stands at a site is not what stood there.

    The difference of a frame from the mean of those before is whitened with what two frames may differ by, and
    compared with the difference that a change from the site's candidate to each other one would make.
    """
    difference = new.features[after] - past.seen.features[before]
    difference *= (1 / np.sqrt(1 + 1 / past.counts[before]))[:, None].astype(np.float32)
    kind = new.sites.sublattice[new.judged][after]
    means, whiten = _of_two_frames(new.predictions, past.scale.scatter)
    gained, distance = changes(difference, kind, past.best[before], whiten, means)
    for code in range(len(whiten)):
        mine = kind == code
        usual = max(1.0, float(medians(distance[mine][None])[0])) if mine.any() else 1.0
        gained[mine] /= usual
        distance[mine] /= usual
    changed: NDArray[np.bool_] = (gained > _CHANGED_NATS) | (distance > _CHANGED_DISTANCE)
    return changed


@lru_cache(maxsize=16)
def _of_two_frames(
    predictions: Predictions, scatter: Scatter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(C, K) features of the candidates, and (sublattices, K, K) inverse factors of what two frames may differ by."""
    # What is the same in every frame does not spread their difference; the error of the site grid does.
    free = Nuisance(
        jitter_angstrom=0.0, shift_angstrom=scatter.nuisance.shift_angstrom, response=0.0, defects=0.0
    )
    noise = free, scatter.dose_e_per_angstrom2, scatter.background
    hosts = [predictions.candidates[row] for row in host_rows(predictions.scene.candidates)]
    whiten = inverse_factors(np.stack([host.covariance(*noise) for host in hosts]))[1]
    means = np.stack([p.mean for p in predictions.candidates])
    return means.astype(np.float32), whiten.astype(np.float32)
