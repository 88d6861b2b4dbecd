"""Sites and answers as rows of a book of labels, written and read back."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.labelling.records import Answer, Kind, SiteRecord
from stemctx_core.results import Decision

#: Columns that `answer_of` reads, in its order.
ANSWER: Final = "id, time_utc, annotator, site, kind, label, undoes, seconds"


def add_site(database: sqlite3.Connection, frame: int, site: SiteRecord) -> int:
    """Number of a site, which is added unless it is there already."""
    row = database.execute(
        "SELECT id FROM site WHERE frame = ? AND y_px = ? AND x_px = ?", (frame, site.y_px, site.x_px)
    ).fetchone()
    if row is not None:
        return int(row["id"])
    values = msgspec.structs.asdict(site) | {
        "sublattice": site.sublattice.value,
        "decision": site.decision.value,
        "posterior": msgspec.json.encode(site.posterior).decode(),
    }
    names = ", ".join(["frame", *values])
    marks = ", ".join("?" * (len(values) + 1))
    number = database.execute(
        f"INSERT INTO site ({names}) VALUES ({marks})", (frame, *values.values())
    ).lastrowid
    assert number is not None
    return number


def site_of(row: sqlite3.Row) -> SiteRecord:
    """A site from all columns of its row.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        Where the row is damaged.
    """
    values = {name: row[name] for name in SiteRecord.__struct_fields__}
    return SiteRecord(
        **values
        | {
            "sublattice": Sublattice(row["sublattice"]),
            "decision": Decision(row["decision"]),
            "posterior": msgspec.json.decode(row["posterior"], type=dict[str, float]),
        }
    )


def answer_of(row: sqlite3.Row) -> Answer:
    """An answer from the columns `ANSWER`."""
    values = list(row)
    values[4] = Kind(values[4])
    return Answer(*values)
