"""The labels of a book as a table: one row a site and annotator, with what the model said of the site."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.errors import InputError
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.hand import OPERATOR, frame_of
from stemctx_core.labelling.hand_labels import HandLabel
from stemctx_core.labelling.records import OTHER, offered
from stemctx_core.results import Decision
from stemctx_core.whole_files import write_whole


class Row(msgspec.Struct, frozen=True):
    """What one annotator said of one site.

    Attributes
    ----------
    frame, frame_sha256
        Name of the frame, and the hash by which it is known again.
    offered
        Everything that could be said, with blanks between.
    annotator, label
        Who, and what: empty where the site was skipped.
    model, probability, decision
        What the model said.
    inclusion
        Probability with which the site was drawn, None where it was not drawn by chance.
    seconds
        For how long it was looked at.
    """

    frame: str
    frame_sha256: str
    y_px: float
    x_px: float
    sublattice: Sublattice
    offered: str
    annotator: str
    label: str
    model: str
    probability: float
    decision: Decision
    stratum: str
    inclusion: float | None
    time_utc: str
    seconds: float


def rows_of_book(book: Book) -> list[Row]:
    """The answers that stand in a book."""
    names = {a.number: a.name for a in book.annotators()}
    rows = []
    for answer in book.standing():
        frame, site = book.site(answer.site)
        rows.append(
            Row(
                frame=frame.name,
                frame_sha256=frame.sha256,
                y_px=round(site.y_px, 2),
                x_px=round(site.x_px, 2),
                sublattice=site.sublattice,
                offered=" ".join(book.offered(answer.site)),
                annotator=names[answer.annotator],
                label=answer.label,
                model=site.found,
                probability=round(site.probability, 5),
                decision=site.decision,
                stratum=site.stratum,
                inclusion=site.inclusion,
                time_utc=answer.time_utc,
                seconds=round(answer.seconds, 2),
            )
        )
    return rows


def row_of_label(label: HandLabel, annotator: str) -> Row:
    """An operator's label as a row; the operator saw what the model said."""
    frame = frame_of(label)
    return Row(
        frame=frame.name,
        frame_sha256=frame.sha256,
        y_px=round(label.y_px, 2),
        x_px=round(label.x_px, 2),
        sublattice=label.sublattice,
        offered=" ".join([*(c.species for c in offered(label.context, label.sublattice)), OTHER]),
        annotator=annotator,
        label=label.label,
        model=label.found,
        probability=round(label.probability, 5),
        decision=Decision.FLAG,
        stratum=OPERATOR,
        inclusion=label.inclusion_probability,
        time_utc=label.time_utc,
        seconds=0.0,
    )


def write_sheet(path: Path, rows: list[Row]) -> None:
    """Write a CSV file, which appears whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Row.__struct_fields__)
    for row in rows:
        values = (msgspec.to_builtins(getattr(row, name)) for name in Row.__struct_fields__)
        writer.writerow("" if value is None else value for value in values)
    write_whole(path, text.getvalue())


def read_sheet(path: Path) -> list[Row]:
    """Read a CSV file that `write_sheet` made; columns that are not known are passed over.

    Raises
    ------
    InputError
        A file that cannot be read, or a row that is none; the row is named.
    """
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, told in enumerate(csv.DictReader(file), 2):
                values: dict[str, object] = {k: v for k, v in told.items() if k in Row.__struct_fields__}
                values["inclusion"] = values.get("inclusion") or None
                try:
                    rows.append(msgspec.convert(values, Row, strict=False))
                except msgspec.ValidationError as error:
                    raise InputError(
                        f"Line {number} of {path} is no label: {error}. Columns are "
                        f"{', '.join(Row.__struct_fields__)}."
                    ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}). Check which file it is.") from error
    return rows
