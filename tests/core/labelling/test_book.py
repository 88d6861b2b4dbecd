"""Books of labels: who answers, in which order, and which answers hold."""

from __future__ import annotations

import msgspec
import pytest

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.errors import InputError
from stemctx_core.labelling.book import MOST_ANNOTATORS, Book
from stemctx_core.labelling.records import OTHER, Kind
from tests.core.labelling.labelled_frame import made


def test_each_annotator_sees_all_sites_in_an_order_of_their_own(book: Book) -> None:
    anna, ben = book.join("Anna"), book.join("Ben")
    orders = [book.order(who) for who in (anna, ben)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == book.sites()
    assert book.order(anna) == orders[0]


def test_sites_that_are_added_later_fit_into_the_order(book: Book) -> None:
    anna = book.join("Anna")
    before = book.order(anna)
    frame, sites = made()
    other = msgspec.structs.replace(frame, sha256="another")
    book.add(other, sites[:5])
    after = book.order(anna)
    assert [s for s in after if s in before] == before
    assert len(after) == len(before) + 5


def test_a_name_is_known_again_however_it_is_written(book: Book) -> None:
    first = book.join("Zoë  Müller")
    assert book.join(" zoe\u0308 müller ") == first
    assert [a.name for a in book.annotators()] == ["Zoë Müller"]
    for name in ("", "   ", "x" * 41, "a\x00b", "a\u202eb"):
        with pytest.raises(InputError, match="printable"):
            book.join(name)


def test_annotators_are_bounded(book: Book) -> None:
    for n in range(MOST_ANNOTATORS):
        book.join(f"n{n}")
    with pytest.raises(InputError, match="already"):
        book.join("one more")
    assert book.join("N7").name == "n7"


def test_the_latest_answer_stands_and_undo_goes_back_step_by_step(book: Book) -> None:
    anna = book.join("Anna").number
    site, other = book.sites()[:2]
    labels = book.offered(site)
    book.answer(anna, site, "", "r1")
    book.answer(anna, site, labels[1], "r2")
    book.answer(anna, other, OTHER, "r3", 2.5)
    assert {a.site: a.label for a in book.standing(anna)} == {site: labels[1], other: OTHER}
    assert book.undo(anna, "u1").site == other  # type: ignore[union-attr]
    assert book.undo(anna, "u2").site == site  # type: ignore[union-attr]
    assert [(a.site, a.kind) for a in book.standing(anna)] == [(site, Kind.SKIP)]
    assert book.undo(anna, "u3") is not None
    assert book.undo(anna, "u4") is None
    assert book.standing(anna) == []
    assert [a.kind for a in book.history()] == ["skip", "label", "label", "undo", "undo", "undo"]


def test_undo_takes_back_nothing_of_another_annotator(book: Book) -> None:
    anna, ben = book.join("Anna").number, book.join("Ben").number
    site = book.sites()[0]
    book.answer(anna, site, OTHER, "r1")
    assert book.undo(ben, "u1") is None
    assert len(book.standing(anna)) == 1


def test_a_request_that_comes_twice_is_one_answer(book: Book) -> None:
    anna = book.join("Anna").number
    site, other = book.sites()[:2]
    book.answer(anna, site, OTHER, "a")
    book.answer(anna, other, OTHER, "b")
    assert book.answer(anna, site, OTHER, "a").number == 1
    assert book.undo(anna, "u") == book.undo(anna, "u")
    assert len(book.history()) == 3


def test_what_cannot_stand_at_a_site_is_not_kept(book: Book) -> None:
    anna = book.join("Anna").number
    metal = next(s for s in book.sites() if book.site(s)[1].sublattice is Sublattice.METAL)
    with pytest.raises(InputError, match="cannot stand"):
        book.answer(anna, metal, "vac_Se", "r")
    with pytest.raises(InputError, match="no site"):
        book.answer(anna, 10_000, OTHER, "r")
    with pytest.raises(InputError, match="no annotator"):
        book.answer(99, metal, OTHER, "r")
    assert book.history() == []
