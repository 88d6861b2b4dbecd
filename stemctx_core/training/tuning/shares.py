"""What a set of labels stands for: weight of each, how often each species was to be expected, and which belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.encoding.encode import EncodedScene
from stemctx_core.labelling.hand_labels import HandLabel

#: A label that was hardly ever to be drawn counts at most this many times as much as the mean one; a few would rule else.
_LARGEST_WEIGHT: Final = 10.0
#: Labels that the typical prevalence counts for where the labels say how often each species is met.
_PRIOR_LABELS: Final = 20.0
#: With so many frames, each is a group of labels of its own; else frames are cut into about so many stripes in all.
_FRAMES_ENOUGH: Final = 10
_STRIPES: Final = 20


class Drawn(StrEnum):
    """How the labelled sites were come by, which says how often each species was to be expected among them."""

    TYPICAL = "typical"
    LABELS = "labels"
    BALANCED = "balanced"


def frame_name(label: HandLabel) -> str:
    """A name for a label's frame that tells nothing but which labels are of the same one."""
    f = label.frame
    said = f"{f.scan_id}\0{f.frame_index}\0{label.context.channel}\0{label.context.inner_mrad}"
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def weights(labels: Sequence[HandLabel]) -> NDArray[np.float64]:
    """(n,) one over the probability with which each was to be drawn, of mean 1, the largest cut."""
    raw = np.array([1 / float(label.inclusion_probability or 1.0) for label in labels])
    cut = np.minimum(raw / raw.mean(), _LARGEST_WEIGHT)
    scaled: NDArray[np.float64] = cut / cut.mean()
    return scaled


def role_shares(
    usable: Sequence[tuple[HandLabel, EncodedScene, NDArray[np.float32]]], weight: NDArray[np.float64]
) -> dict[str, float]:
    """How often each role is met at a site of its sublattice by the weighted labels, drawn towards what is typical."""
    total = dict.fromkeys(Sublattice, _PRIOR_LABELS)
    met = {str(role): _PRIOR_LABELS * rate for role, rate in classes.REAL_PREVALENCE.items()}
    for (label, scene, _), w in zip(usable, weight, strict=True):
        total[label.sublattice] += w
        candidate = next(c for c in scene.candidates if c.species == label.label)
        if candidate.is_defect:
            met[str(candidate.role)] += w
    on = {str(c.role): c.sublattice for _, scene, _ in usable for c in scene.candidates}
    return {role: value / total[on.get(role, Sublattice.METAL)] for role, value in met.items()}


def prior_at(
    listed: tuple[Candidate, ...],
    sublattice: Sublattice,
    drawn: Drawn,
    shares: dict[str, float] | None,
) -> NDArray[np.float64]:
    """(C,) prior of each candidate at a site of a sublattice, never quite zero."""
    here = np.array([c.sublattice is sublattice for c in listed])
    if drawn is Drawn.BALANCED:
        values = np.ones(len(listed))
    else:
        values = np.clip(np.array(classes.priors(listed, shares)), 1e-4, None)
    prior: NDArray[np.float64] = np.where(here, values, 0.0)
    floored: NDArray[np.float64] = np.maximum(prior / prior.sum(), 1e-12)
    return floored


def fold_groups(labels: Sequence[HandLabel]) -> NDArray[np.intp]:
    """Frames; where there are few of them, stripes of about equally many labels along each.

    Sites beside each other share columns and the errors of their frame, so that single patches would not be held out
    from their likes.
    """
    frames: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        frames.setdefault(frame_name(label), []).append(row)
    group = np.zeros(len(labels), np.intp)
    stripes = 1 if len(frames) >= _FRAMES_ENOUGH else -(-_STRIPES // len(frames))
    at = 0
    for rows in frames.values():
        for part in np.array_split(np.array(rows), min(stripes, len(rows))):
            group[part] = at
            at += 1
    return group
