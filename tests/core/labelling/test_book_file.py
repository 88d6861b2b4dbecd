"""The file of a book: rows are only added, nothing that was said is lost, and other files are left as they are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stemctx_core.errors import InputError
from stemctx_core.labelling.book import Book, open_book
from stemctx_core.labelling.records import OTHER


@pytest.mark.parametrize("table", ["fact", "frame", "site", "annotator", "answer"])
def test_the_file_itself_lets_no_row_change_or_go(table: str, book: Book) -> None:
    """Also not for another program with settings of its own."""
    anna = book.join("Anna").number
    book.answer(anna, book.sites()[0], OTHER, "r")
    book.close()
    other = sqlite3.connect(book.path)
    columns = [row[1] for row in other.execute(f"PRAGMA table_info({table})")]
    before = other.execute(f"SELECT * FROM {table}").fetchall()
    assert before
    for sql in (
        f"DELETE FROM {table}",
        f"UPDATE {table} SET {columns[-1]} = {columns[-1]}",
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        f"REPLACE INTO {table} SELECT * FROM {table}",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            other.execute(sql)
    assert other.execute(f"SELECT * FROM {table}").fetchall() == before
    other.close()


def test_an_answer_is_on_the_disk_before_the_book_is_closed(book: Book) -> None:
    settings = [
        book._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]
    assert settings == ["wal", 2]
    book.answer(book.join("Anna").number, book.sites()[0], OTHER, "r")
    with open_book(book.path) as other:
        assert len(other.history()) == 1


def test_a_book_is_not_made_over_another_file(book: Book) -> None:
    with pytest.raises(InputError, match="there already"):
        Book.create(book.path)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be one" * 40])
def test_other_files_are_no_books(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match="Check which file"):
        open_book(path)
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="There is no file"):
        open_book(tmp_path / "none.sqlite")


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE mine (a)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="not a book of labels"):
        open_book(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["other.sqlite"]


def read_all(path: Path) -> None:
    with open_book(path) as opened:
        for site in opened.sites():
            opened.site(site)


def test_a_damaged_book_is_an_error_in_words(book: Book) -> None:
    book.close()
    whole = book.path.read_bytes()
    for intact in (100, 4096 * 12):
        book.path.write_bytes(whole[:intact] + b"\xff" * (len(whole) - intact))
        with pytest.raises(InputError, match="cannot be read"):
            read_all(book.path)


def test_a_full_disk_or_a_locked_file_is_said(book: Book) -> None:
    anna = book.join("Anna").number
    book._database.execute("PRAGMA query_only = ON")  # as where the file cannot be written
    with pytest.raises(InputError, match="Nothing was kept"):
        book.answer(anna, book.sites()[0], OTHER, "r")
    book._database.execute("PRAGMA query_only = OFF")
    assert book.answer(anna, book.sites()[0], OTHER, "r").number == 1
