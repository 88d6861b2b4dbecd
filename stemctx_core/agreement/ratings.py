"""Labels from files, laid out as one table of sites and raters for each kind of site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.book import open_book
from stemctx_core.labelling.sheet import Row, read_sheet, row_of_label, rows_of_book
from stemctx_core.results import Decision

MODEL: Final = "model"
#: The model only where it decided.
DECIDED: Final = "model, decided"
MAJORITY: Final = "majority"
NOTHING: Final = -1
HOST, DEFECT = "host", "defect"
#: The question that all sites are asked, of whatever host and sublattice.
ALL_SITES: Final = "all sites, host column or defect"


@dataclass(frozen=True)
class Table:
    """What was said of the sites of one kind.

    Attributes
    ----------
    name
        Which sites they are.
    classes
        What could be said.
    people
        Names of those who labelled.
    codes
        (n, people) index into `classes`, `NOTHING` where a person said nothing.
    model
        (n,) the model's most probable class.
    decided
        (n,) whether the model passed or flagged the site.
    frame
        (n,) which frame a site is of, as an integer.
    weight
        (n,) sites that each one stands for, by its inclusion probability; NaN where that is not known.
    """

    name: str
    classes: tuple[str, ...]
    people: tuple[str, ...]
    codes: NDArray[np.int64]
    model: NDArray[np.int64]
    decided: NDArray[np.bool_]
    frame: NDArray[np.int64]
    weight: NDArray[np.float64]

    def rater(self, name: str, without: str | None = None) -> NDArray[np.int64]:
        """(n,) what a rater said: a person, `MODEL`, `DECIDED`, or the `MAJORITY` of the people.

        Parameters
        ----------
        without
            Person who is no part of the majority.
        """
        if name == MODEL:
            return self.model
        if name == DECIDED:
            return np.where(self.decided, self.model, NOTHING)
        if name == MAJORITY:
            return majority(self.codes[:, [p != without for p in self.people]], len(self.classes))
        return self.codes[:, self.people.index(name)]


def majority(codes: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(n,) what more than half of those who said something say of each site, `NOTHING` where there is no such class."""
    counts = counted(codes, classes)
    best = counts.argmax(axis=1)
    most = np.take_along_axis(counts, best[:, None], axis=1)[:, 0]
    return np.where(2 * most > counts.sum(axis=1), best, NOTHING)


def counted(codes: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(n, classes) raters that said each class of each site."""
    counts: NDArray[np.int64] = (codes[:, :, None] == np.arange(classes)).sum(axis=1)
    return counts


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Rows of books (``.sqlite``), tables (``.csv``) and operators' labels (``.jsonl``, under the file's name).

    Raises
    ------
    InputError
        A file that cannot be read.
    """
    rows: list[Row] = []
    for path in paths:
        if path.suffix == ".csv":
            rows += read_sheet(path)
        elif path.suffix == ".jsonl":
            rows += [row_of_label(label, path.stem) for label in hand_labels.read(path).labels]
        else:
            with open_book(path) as book:
                rows += rows_of_book(book)
    return rows


def tables(rows: Iterable[Row]) -> list[Table]:
    """Lay out labels: a table of each kind of site, and one of all sites that only asks for a defect.

    Sites of one kind are those of which the same can be said. Sites of several books are the same where frame and
    place are. Of several answers of one person at one site the latest counts; a skip is no answer.

    Raises
    ------
    InputError
        Where nobody labelled anything.
    """
    sites: dict[tuple[str, float, float], dict[str, Row]] = {}
    for row in sorted(rows, key=lambda r: r.time_utc):
        place = row.frame_sha256, round(row.y_px, 1), round(row.x_px, 1)
        sites.setdefault(place, {})[row.annotator] = row
    labelled = [
        said
        for rows_of_site in sites.values()
        if (said := {name: row for name, row in rows_of_site.items() if row.label})
    ]
    if not labelled:
        raise InputError("Nobody has labelled anything in these files. Label first: stemctx label serve --help")
    counts = Counter(name for said in labelled for name in said)
    people = tuple(sorted(counts))
    kinds: dict[str, list[dict[str, Row]]] = {}
    for said in labelled:
        kinds.setdefault(next(iter(said.values())).offered, []).append(said)
    owns = Counter(offered.split()[0] for offered in kinds)
    listed = []
    for offered in sorted(kinds):
        own, *others = offered.split()
        # Where different dopants were looked for in one host, the kinds are told apart by what was offered.
        name = f"{own} sites" if owns[own] == 1 else f"{own} sites ({', '.join(others)})"
        listed.append(_table(name, (own, *others), people, kinds[offered]))
    return [*listed, _table(ALL_SITES, (HOST, DEFECT), people, labelled)]


def _table(name: str, classes: tuple[str, ...], people: tuple[str, ...], sites: list[dict[str, Row]]) -> Table:
    def code(row: Row, label: str) -> int:
        if name == ALL_SITES:
            label = HOST if label == row.offered.split()[0] else DEFECT
        if label not in classes:
            raise InputError(f"'{label}' was said of a site of {row.frame} where only {row.offered} can stand.")
        return classes.index(label)

    firsts = [next(iter(said.values())) for said in sites]
    frames = {sha256: number for number, sha256 in enumerate(dict.fromkeys(r.frame_sha256 for r in firsts))}
    return Table(
        name=name,
        classes=classes,
        people=people,
        codes=np.array(
            [[code(said[p], said[p].label) if p in said else NOTHING for p in people] for said in sites],
            np.int64,
        ),
        model=np.array([code(row, row.model) for row in firsts], np.int64),
        decided=np.array([row.decision is not Decision.ABSTAIN for row in firsts]),
        frame=np.array([frames[row.frame_sha256] for row in firsts], np.int64),
        weight=np.array([1 / row.inclusion if row.inclusion else np.nan for row in firsts]),
    )
