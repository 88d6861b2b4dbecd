"""A book of labels: one SQLite file of sites and of what each annotator said of them, to which rows are only added.

An answer is on the disk when `Book.answer` returns (write-ahead log, synchronous FULL), and a request that is sent
twice because its reply was lost is one answer.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from stemctx_core.closing import Closing
from stemctx_core.errors import InputError
from stemctx_core.labelling.database import connected, connection, is_book
from stemctx_core.labelling.records import OTHER, Annotator, Answer, FrameRecord, Kind, SiteRecord, offered
from stemctx_core.labelling.rows import ANSWER, add_site, answer_of, site_of
from stemctx_core.labelling.schema import FORMAT, SCHEMA

MOST_ANNOTATORS: Final = 100
MOST_ANSWERS: Final = 1_000_000
MOST_NAME: Final = 40


class Book(Closing):
    """An open book; used by one thread at a time. Make one with `create`, or `open_book` an existing one."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database
        self._frames: dict[int, FrameRecord] = {}

    @classmethod
    def create(cls, path: Path, seed: str | None = None) -> Book:
        """Begin a book.

        Parameters
        ----------
        path
            Where no file is yet.
        seed
            What the orders in which annotators see the sites follow from; chosen by chance where left out.

        Raises
        ------
        InputError
            Where the file is there already, or cannot be written.
        """
        if path.exists():
            raise InputError(f"{path} is there already, and its answers are kept. Name another file.")
        try:
            with connected(path) as database:
                database.executescript(f"BEGIN;{SCHEMA}COMMIT;")
                database.execute("INSERT INTO fact VALUES ('seed', ?)", (seed or secrets.token_hex(16),))
                database.execute("INSERT INTO fact VALUES ('made_utc', ?)", (_now(),))
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be written ({error}). Choose another folder.") from error
        return open_book(path)

    def close(self) -> None:
        """Close the file; the write-ahead log is put into it."""
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; where the disk fails nothing of it is kept, and that is said."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise InputError(f"Nothing was kept: {self.path} cannot be written ({error}). Repeat.") from error

    def add(self, frame: FrameRecord, sites: list[SiteRecord]) -> list[int]:
        """Add a frame with its sites, all or none; a frame or a site that is there already is found again.

        Returns
        -------
        list of int
            Number of each site.
        """
        with self._writing() as database:
            text = msgspec.json.encode(frame).decode()
            database.execute(
                "INSERT INTO frame (sha256, record) SELECT ?1, ?2 "
                "WHERE NOT EXISTS (SELECT 1 FROM frame WHERE sha256 = ?1)",
                (frame.sha256, text),
            )
            row = database.execute("SELECT id FROM frame WHERE sha256 = ?", (frame.sha256,)).fetchone()
            return [add_site(database, row[0], site) for site in sites]

    def join(self, name: str) -> Annotator:
        """The annotator of this name, new or known; upper and lower case are the same.

        Raises
        ------
        InputError
            A name that is empty, too long or not printable, or more annotators than there can be.
        """
        name = " ".join(unicodedata.normalize("NFC", name).split())
        if not name or len(name) > MOST_NAME or not name.isprintable():
            raise InputError(f"A name has 1 to {MOST_NAME} printable characters. Choose another.")
        for known in self.annotators():
            if known.name.casefold() == name.casefold():
                return known
        if len(self.annotators()) >= MOST_ANNOTATORS:
            raise InputError(f"This book has {MOST_ANNOTATORS} annotators already. Make another.")
        seed = hashlib.sha256(f"{self._fact('seed')}\n{name.casefold()}".encode()).hexdigest()
        with self._writing() as database:
            database.execute(
                "INSERT INTO annotator (name, folded, seed, joined_utc) VALUES (?, ?, ?, ?)",
                (name, name.casefold(), seed, _now()),
            )
        return self.annotators()[-1]

    def annotators(self) -> list[Annotator]:
        """Everyone who gave labels, or began to."""
        return [Annotator(*row) for row in self._rows("SELECT id, name, seed FROM annotator ORDER BY id")]

    def annotator(self, number: int) -> Annotator:
        """Raise `InputError` where there is none of this number."""
        for known in self.annotators():
            if known.number == number:
                return known
        raise InputError(f"There is no annotator {number} in {self.path}. Give a name again.")

    def order(self, annotator: Annotator) -> list[int]:
        """All sites as this annotator sees them: sorted by a keyed hash, so that sites added later fit in."""
        key = bytes.fromhex(annotator.seed)
        return sorted(
            self.sites(),
            key=lambda site: hashlib.blake2b(str(site).encode(), key=key, digest_size=16).digest(),
        )

    def sites(self) -> list[int]:
        """Numbers of all sites."""
        # Without an order SQLite reads an index only, and not the pictures.
        return sorted(row[0] for row in self._rows("SELECT id FROM site"))

    def site(self, number: int) -> tuple[FrameRecord, SiteRecord]:
        """A site with its frame.

        Raises
        ------
        InputError
            Where there is none of this number.
        """
        rows = self._rows("SELECT * FROM site WHERE id = ?", number)
        if not rows:
            raise InputError(f"There is no site {number} in {self.path}.")
        try:
            return self._frame(rows[0]["frame"]), site_of(rows[0])
        except (msgspec.MsgspecError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read: site {number} is damaged ({error}).") from error

    def offered(self, number: int) -> tuple[str, ...]:
        """What may be said of a site."""
        frame, site = self.site(number)
        return (*(c.species for c in offered(frame.context, site.sublattice)), OTHER)

    def answer(self, annotator: int, site: int, label: str, request: str, seconds: float = 0.0) -> Answer:
        """Keep a label, or a skip where the label is empty; on the disk when this returns.

        Parameters
        ----------
        request
            Chosen by who asks; the same request again is the same answer.

        Raises
        ------
        InputError
            An unknown annotator or site, a label that is not offered there, or a file that cannot be written.
        """
        self.annotator(annotator)
        if label and label not in self.offered(site):
            raise InputError(f"'{label}' cannot stand here. Choose one of {', '.join(self.offered(site))}.")
        kind = Kind.LABEL if label else Kind.SKIP
        return self._append((annotator, site, kind, label, None, seconds, request))

    def undo(self, annotator: int, request: str) -> Answer | None:
        """Take back the annotator's last answer that still stands; None where there is none."""
        known = self._by_request(request)
        if known is not None:
            return known
        last = self._rows(
            "SELECT id, site FROM answer WHERE annotator = ? AND kind <> 'undo' AND id NOT IN "
            "(SELECT undoes FROM answer WHERE undoes IS NOT NULL) ORDER BY id DESC LIMIT 1",
            annotator,
        )
        if not last:
            return None
        return self._append((annotator, last[0]["site"], Kind.UNDO, "", last[0]["id"], 0.0, request))

    def standing(self, annotator: int | None = None) -> list[Answer]:
        """The answers that hold now, of one annotator or of all."""
        query = f"SELECT {ANSWER} FROM answer JOIN standing USING (id, annotator, site)"
        if annotator is None:
            rows = self._rows(f"{query} ORDER BY id")
        else:
            rows = self._rows(f"{query} WHERE annotator = ? ORDER BY id", annotator)
        return [answer_of(row) for row in rows]

    def history(self) -> list[Answer]:
        """Everything that was ever done, in its order."""
        return [answer_of(row) for row in self._rows(f"SELECT {ANSWER} FROM answer ORDER BY id")]

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        try:
            return self._database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{self.path} cannot be read ({error}). Is it whole?") from error

    def last(self) -> int:
        """Number of the newest answer; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM answer")[0][0])

    def _append(self, values: tuple[Any, ...]) -> Answer:
        request = values[-1]
        known = self._by_request(request)
        if known is not None:
            return known
        with self._writing() as database:
            # Numbers are given in order, and no row ever goes.
            if self.last() >= MOST_ANSWERS:
                raise InputError(f"{self.path} is full. Make another book.")
            database.execute(
                "INSERT INTO answer (time_utc, annotator, site, kind, label, undoes, seconds, request) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (_now(), *values),
            )
        kept = self._by_request(request)
        assert kept is not None
        return kept

    def _by_request(self, request: str) -> Answer | None:
        rows = self._rows(f"SELECT {ANSWER} FROM answer WHERE request = ?", request)
        return answer_of(rows[0]) if rows else None

    def _fact(self, key: str) -> str:
        return str(self._rows("SELECT value FROM fact WHERE key = ?", key)[0][0])

    def _frame(self, number: int) -> FrameRecord:
        if number not in self._frames:
            text = self._rows("SELECT record FROM frame WHERE id = ?", number)[0][0]
            self._frames[number] = msgspec.json.decode(text, type=FrameRecord)
        return self._frames[number]


def open_book(path: Path) -> Book:
    """Open an existing book.

    Raises
    ------
    InputError
        Where there is none, or the file is none.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}. Make it with 'stemctx label make'.")
    try:
        if not is_book(path):
            raise InputError(f"{path} is not a book of labels of format {FORMAT}. Check which file it is.")
        return Book(path, connection(path))
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"{path} cannot be read ({error}). Check which file it is.") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
