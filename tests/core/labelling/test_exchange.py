"""Labels between books, files of an operator's labels and tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from stemctx_core.errors import InputError
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.crops import PICTURE_PX
from stemctx_core.labelling.hand import agreed, bring_in, hand_label
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.labelling.records import OTHER
from stemctx_core.labelling.sheet import read_sheet, rows_of_book, write_sheet
from tests.core.labelling.labelled_frame import context


def test_labels_go_out_as_an_operators_and_come_in_again(book: Book, tmp_path: Path) -> None:
    anna = book.join("Anna").number
    sites = book.sites()
    for n, site in enumerate(sites[:6]):
        book.answer(anna, site, book.offered(site)[n % 3], f"r{n}")
    chosen = agreed(book.standing())
    path = tmp_path / "labels.jsonl"
    for site, (label, when) in chosen.items():
        line = hand_label(*book.site(site), label, when)
        assert line is not None
        hand_labels.append(path, line)
    labels = hand_labels.read(path).labels
    assert len(labels) == 6
    for label in labels:
        own = label.label in ("W", "Se2")
        right = (
            Judgement.ACCEPT if label.label == label.found else Judgement.REJECT if own else Judgement.RELABEL
        )
        assert label.judgement is right
        assert 0 < (label.inclusion_probability or 0) <= 1
    with Book.create(tmp_path / "second.sqlite") as second:
        done = bring_in(second, path, "Anna")
        assert (done.labels, done.added, done.damaged) == (6, 6, 0)
        assert bring_in(second, path, "anna").added == 0
        assert sorted(a.label for a in second.standing()) == sorted(label.label for label in labels)
        frame, site = second.site(1)
        assert frame.context == context()
        assert Image.open(io.BytesIO(site.picture)).size == (PICTURE_PX, PICTURE_PX)
        assert site.surroundings == b""


def test_a_label_that_was_thought_better_of_is_history(book: Book, tmp_path: Path) -> None:
    frame, site = book.site(book.sites()[0])
    path = tmp_path / "labels.jsonl"
    for label, when in ((site.found, "2026-01-01T00:00:00"), (book.offered(1)[1], "2026-01-01T00:01:00")):
        hand_labels.append(path, hand_label(frame, site, label, when))  # type: ignore[arg-type]
    with Book.create(tmp_path / "second.sqlite") as second:
        bring_in(second, path, "operator")
        assert len(second.sites()) == 1
        assert [a.label for a in second.standing()] == [book.offered(1)[1]]
        assert len(second.history()) == 2


def test_other_and_ties_are_no_labels_for_training(book: Book) -> None:
    names = [book.join(name).number for name in ("Anna", "Ben")]
    first, second, third = book.sites()[:3]
    for n, who in enumerate(names):
        book.answer(who, first, OTHER, f"a{n}")
        book.answer(who, second, book.offered(second)[n], f"b{n}")
        book.answer(who, third, book.offered(third)[1], f"c{n}")
    assert list(agreed(book.standing())) == [third]
    assert hand_label(*book.site(first), OTHER, "") is None


def test_a_table_is_read_as_it_was_written(book: Book, tmp_path: Path) -> None:
    anna = book.join('Anna, "the first"').number
    book.answer(anna, book.sites()[0], book.offered(1)[0], "r1", 3.25)
    book.answer(anna, book.sites()[1], "", "r2")
    rows = rows_of_book(book)
    assert [r.label for r in rows] == [book.offered(1)[0], ""]
    write_sheet(tmp_path / "labels.csv", rows)
    assert read_sheet(tmp_path / "labels.csv") == rows


def test_a_damaged_table_names_the_line(book: Book, tmp_path: Path) -> None:
    book.answer(book.join("Anna").number, book.sites()[0], OTHER, "r")
    path = tmp_path / "labels.csv"
    write_sheet(path, rows_of_book(book))
    path.write_text(path.read_text().replace(",M,", ",Q,").replace(",X,", ",Q,"))
    with pytest.raises(InputError, match=r"Line 2 .* no label"):
        read_sheet(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_sheet(path)
