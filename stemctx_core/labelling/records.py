"""What a book of labels holds: frames, sites of them, annotators and their answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.context import ImagingContext
from stemctx_core.results import CalibrationSummary, Decision, FrameIdentity

#: Answer where something stands at a site that is not among the candidates.
OTHER: Final = "other"


class Kind(StrEnum):
    """What an annotator did."""

    LABEL = "label"
    SKIP = "skip"
    UNDO = "undo"


class FrameRecord(msgspec.Struct, frozen=True):
    """A frame that sites were taken from.

    Attributes
    ----------
    name
        File name, or scan and number of a live frame.
    sha256
        Of the pixels, by which the same frame is known again in another book.
    identity, context, calibration, frames_accumulated, model
        As in `FrameResult`.
    """

    name: str
    sha256: str
    identity: FrameIdentity
    context: ImagingContext
    calibration: CalibrationSummary
    frames_accumulated: int
    model: str


class SiteRecord(msgspec.Struct, frozen=True):
    """A site to be labelled. What the model says of it is kept for later and never shown to annotators.

    Attributes
    ----------
    y_px, x_px, sublattice
        Where it is.
    stratum
        Group that it was drawn from.
    inclusion
        Probability with which a site of this stratum was drawn; None where the sites were not drawn by chance.
    found, probability, decision, posterior
        The model's most probable species, its probability, the decision, and the probability of every candidate.
    patch
        The lattice-registered patch: `stemctx_core.contrast.patches.SAMPLES` little-endian float32.
    picture, surroundings
        PNG of the site, and of a wider part of the frame around it (empty where only the patch is known).
    picture_angstrom, surroundings_angstrom
        Width of the two.
    """

    y_px: float
    x_px: float
    sublattice: Sublattice
    stratum: str
    inclusion: float | None
    found: str
    probability: float
    decision: Decision
    posterior: dict[str, float]
    patch: bytes
    picture: bytes
    picture_angstrom: float
    surroundings: bytes = b""
    surroundings_angstrom: float = 0.0


class Annotator(msgspec.Struct, frozen=True):
    """Who gives labels; the seed orders the sites for this one."""

    number: int
    name: str
    seed: str


class Answer(msgspec.Struct, frozen=True):
    """One row of what was done; rows are only ever added.

    Attributes
    ----------
    number
        Counts answers.
    annotator, site
        Numbers of both.
    kind, label
        What was done; the label is empty unless one was given.
    undoes
        Number of the answer that this one takes back.
    seconds
        For how long the site was looked at.
    """

    number: int
    time_utc: str
    annotator: int
    site: int
    kind: Kind
    label: str
    undoes: int | None
    seconds: float


def offered(context: ImagingContext, sublattice: Sublattice) -> tuple[Candidate, ...]:
    """What an annotator can say of a site, the host's own column first; `OTHER` comes on top."""
    return tuple(c for c in context.candidates if c.sublattice is sublattice)
