"""Books of labels: rows are only added, sites are drawn by chance, and nothing an annotator said is lost."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.context import ImagingContext, Source, known
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.errors import InputError
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.book import MOST_ANNOTATORS, Book, open_book
from stemctx_core.labelling.crops import PICTURE_PX, crop, levels
from stemctx_core.labelling.hand import agreed, bring_in, hand_label
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.labelling.making import sites_of
from stemctx_core.labelling.records import OTHER, FrameRecord, Kind, SiteRecord
from stemctx_core.labelling.sampling import Amounts, draw
from stemctx_core.labelling.sheet import read_sheet, rows_of_book, write_sheet
from stemctx_core.results import EDGE, Decision, FrameResult, Refusal
from tests.core.frames import FrameRecipe, make_frame

AMOUNTS = Amounts(flagged=4, undecided=3, passed=5)


def context() -> ImagingContext:
    return ImagingContext("WSe2", ("V",), *(known(v, Source.USER) for v in (80.0, 30.0, 70.0, 200.0)))


@lru_cache(maxsize=1)
def image() -> np.ndarray:
    return make_frame(FrameRecipe(shape=(320, 320), seed=3)).image


@lru_cache(maxsize=1)
def made() -> tuple[FrameRecord, list[SiteRecord]]:
    sites = sites_of(image(), context(), "one.tif", FrameAnalyzer.shipped(), AMOUNTS, 0)
    assert not isinstance(sites, Refusal)
    return sites


@lru_cache(maxsize=1)
def judged() -> FrameResult:
    return FrameAnalyzer.shipped().analyze(image(), context())


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Book.create(tmp_path / "book.sqlite", seed="a") as opened:
        opened.add(*made())
        yield opened


def test_sites_are_drawn_from_every_stratum_with_their_probability() -> None:
    _, sites = made()
    result = judged()
    flagged = {s.stratum for s in sites if s.decision is Decision.FLAG}
    assert {f"flag {name}" for name in result.flag_counts()} == flagged
    assert {"pass M", "pass X"} <= {s.stratum for s in sites}
    for stratum in {s.stratum for s in sites}:
        mine = [s for s in sites if s.stratum == stratum]
        members = len(mine) / mine[0].inclusion  # type: ignore[operator]
        assert members == pytest.approx(round(members))
        assert len({s.inclusion for s in mine}) == 1


def test_weighted_by_their_probability_drawn_sites_stand_for_the_whole_frame() -> None:
    """The Horvitz-Thompson estimate of a total has no bias: over many draws its mean is the total."""
    result = judged()
    unseen = [result.reasons.index(EDGE)] if EDGE in result.reasons else []
    members = np.flatnonzero(~np.isin(result.sites.reason, unseen))
    value = result.sites.entropy_nats
    estimates = []
    for seed in range(300):
        drawn = draw(result, AMOUNTS, np.random.default_rng(seed))
        assert sum(1 / d.inclusion for d in drawn) == pytest.approx(len(members))
        estimates.append(sum(value[d.site] / d.inclusion for d in drawn))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(value[members].sum(), abs=4 * error)


def test_a_draw_is_repeatable_and_its_order_tells_nothing_of_the_strata() -> None:
    result = judged()
    first, again, other = (draw(result, AMOUNTS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    strata = [d.stratum for d in first]
    assert strata != sorted(strata)
    assert sum(a != b for a, b in pairwise(strata)) > len(set(strata))


def test_amounts_that_draw_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="No sites"):
        Amounts(0, 0, 0).validated()
    with pytest.raises(InputError, match="No sites"):
        Amounts(-1, 2, 3).validated()


def test_a_frame_without_a_lattice_is_a_refusal() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (256, 256))
    assert isinstance(sites_of(noise, context(), "noise", FrameAnalyzer.shipped(), AMOUNTS, 0), Refusal)


def test_patches_of_a_book_judge_as_the_frame_did() -> None:
    frame, sites = made()
    cut = CutPatches(
        np.stack([np.frombuffer(s.patch, "<f4").reshape(32, 32) for s in sites]),
        np.array([s.y_px for s in sites], np.float32),
        np.array([s.x_px for s in sites], np.float32),
        np.array([list(Sublattice).index(s.sublattice) for s in sites]),
    )
    result = judged()
    for site, patch in zip(sites, cut.patches, strict=True):
        at = int(np.hypot(result.sites.y_px - site.y_px, result.sites.x_px - site.x_px).argmin())
        assert result.species(at) == site.found
        near = image()[round(site.y_px) - 2 : round(site.y_px) + 3, round(site.x_px) - 2 : round(site.x_px) + 3]
        assert float(patch[13:19, 13:19].mean()) == pytest.approx(float(near.mean()), rel=0.5, abs=1.5)
    assert frame.calibration == result.calibration


def test_the_site_stands_in_the_middle_of_its_picture() -> None:
    frame = np.zeros((200, 240), np.float32)
    y, x = np.mgrid[:200, :240]
    frame += np.exp(-((y - 60.3) ** 2 + (x - 151.6) ** 2) / 8)
    for width in (12.0, 80.0, 300.0):
        shown = np.asarray(Image.open(io.BytesIO(crop(frame, (60.3, 151.6), width, (0.0, 1.0)))), float)
        assert shown.shape == (PICTURE_PX, PICTURE_PX)
        rows, columns = np.mgrid[:PICTURE_PX, :PICTURE_PX]
        middle = (PICTURE_PX - 1) / 2
        assert (rows * shown).sum() / shown.sum() == pytest.approx(middle, abs=0.6)
        assert (columns * shown).sum() / shown.sum() == pytest.approx(middle, abs=0.6)


def test_levels_endure_what_is_not_finite() -> None:
    frame = np.full((40, 40), np.nan)
    assert levels(frame) == (0.0, 1.0)
    frame[3] = 7
    low, high = levels(frame)
    assert low == 7 < high
    assert crop(frame, (3.0, 3.0), 10.0, (low, high)).startswith(b"\x89PNG")


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
