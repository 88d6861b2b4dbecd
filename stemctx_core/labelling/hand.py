"""Labels that an operator gave in Nion Swift's list, into a book and out of it: the lines of `docs/labels.md`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import HOST_ROLES
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.crops import WIDTH, patch_picture
from stemctx_core.labelling.hand_labels import HandLabel, Judgement
from stemctx_core.labelling.records import OTHER, Answer, FrameRecord, Kind, SiteRecord, offered
from stemctx_core.results import Decision

#: Stratum of sites that an operator chose; by what chance is not known.
OPERATOR: str = "operator"


class Imported(msgspec.Struct, frozen=True):
    """What came of an import.

    Attributes
    ----------
    labels
        Answers in the book that the file's lines gave, or had given before.
    added
        Those that were not in it yet.
    damaged
        Lines that could not be read.
    """

    labels: int
    added: int
    damaged: int


def bring_in(book: Book, path: Path, annotator: str) -> Imported:
    """Add the labels of an operator's file as answers of one annotator; a line that was brought in before is not again.

    Raises
    ------
    InputError
        A file that cannot be read, or a name that cannot be used.
    """
    found = hand_labels.read(path)
    who = book.join(annotator)
    before = len(book.history())
    # Every label and not only the latest: what was said first and thought better of is history too.
    by_frame = groupby(sorted(found.labels, key=_frame_key), key=_frame_key)
    for _, group in by_frame:
        labels = list(group)
        numbers = book.add(frame_of(labels[0]), [_site_of(label) for label in labels])
        for label, number in sorted(zip(labels, numbers, strict=True), key=lambda pair: pair[0].time_utc):
            line = hashlib.sha256(msgspec.json.encode(label)).hexdigest()
            book.answer(who.number, number, label.label, f"import {who.number} {line}")
    return Imported(len(found.labels), len(book.history()) - before, found.damaged)


def frame_of(label: HandLabel) -> FrameRecord:
    """The frame that a label is of. Its pixels are not in the label: scan and number stand in for them."""
    name = f"{label.frame.scan_id} #{label.frame.frame_index}"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return FrameRecord(
        name, sha256, label.frame, label.context, label.calibration, label.frames_accumulated, label.model
    )


def hand_label(frame: FrameRecord, site: SiteRecord, label: str, time_utc: str) -> HandLabel | None:
    """A line of `docs/labels.md` from what was said of a site; None where that is no candidate."""
    if label not in site.posterior:
        return None
    own = next(c.species for c in offered(frame.context, site.sublattice) if c.role in HOST_ROLES)
    judgement = (
        Judgement.ACCEPT if label == site.found else Judgement.REJECT if label == own else Judgement.RELABEL
    )
    return HandLabel(
        time_utc=time_utc,
        judgement=judgement,
        label=label,
        found=site.found,
        probability=site.probability,
        posterior=site.posterior,
        sublattice=site.sublattice,
        y_px=site.y_px,
        x_px=site.x_px,
        frame=frame.identity,
        context=frame.context,
        calibration=frame.calibration,
        frames_accumulated=frame.frames_accumulated,
        model=frame.model,
        patch=site.patch,
        inclusion_probability=site.inclusion,
    )


def agreed(answers: Iterable[Answer]) -> dict[int, tuple[str, str]]:
    """Of each site the label that more than half of its annotators gave, and when the last of them did.

    A site without such a label, and one where that is `OTHER`, is left out.
    """
    given: dict[int, list[Answer]] = {}
    for answer in answers:
        if answer.kind is Kind.LABEL:
            given.setdefault(answer.site, []).append(answer)
    chosen = {}
    for site, mine in given.items():
        label, count = Counter(a.label for a in mine).most_common(1)[0]
        if 2 * count > len(mine) and label != OTHER:
            chosen[site] = (label, max(a.time_utc for a in mine if a.label == label))
    return chosen


def _frame_key(label: HandLabel) -> tuple[str, int]:
    return label.frame.scan_id, label.frame.frame_index


def _site_of(label: HandLabel) -> SiteRecord:
    return SiteRecord(
        y_px=label.y_px,
        x_px=label.x_px,
        sublattice=label.sublattice,
        stratum=OPERATOR,
        inclusion=label.inclusion_probability,
        found=label.found,
        probability=label.probability,
        decision=Decision.FLAG,
        posterior=label.posterior,
        patch=label.patch,
        picture=patch_picture(label.image),
        picture_angstrom=WIDTH * materials.host(label.context.host).a_angstrom,
    )
