"""People at the labelling page, in a real Chromium: two at once, a server that is killed, undo, skip, keys, coming back."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from realtime.labelling.making import BookRequest
from realtime.labelling.making import make_book as make_from_images
from stemctx_core.agreement.page import agreement_page
from stemctx_core.agreement.ratings import read_rows
from stemctx_core.agreement.report import report
from stemctx_core.chemistry.classes import candidates
from stemctx_core.labelling.book import open_book
from stemctx_core.labelling.records import Kind
from stemctx_core.labelling.sampling import Amounts
from stemctx_core.reading.declared import Declared
from tests.core.frames import MAADF, FrameRecipe, make_frame
from tests.realtime.browser import Annotator, chromium
from tests.realtime.label_book import free_port, make_book, serving

pytestmark = pytest.mark.browser

#: Folder for pictures of the page.
SCREENSHOTS = os.environ.get("STEMCTX_SCREENSHOTS")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def anna(driver: Any) -> Iterator[Annotator]:
    driver.get_log("browser")  # what was said before is not of this test
    yield Annotator(driver)
    driver.execute_script("window.sessionStorage.clear()")
    driver.get("about:blank")


def standing(book: Path, name: str) -> dict[int, str]:
    with open_book(book) as opened:
        return {a.site: a.label for a in opened.standing(opened.join(name).number)}


def test_two_annotators_at_once_and_a_server_that_is_killed_lose_nothing(driver: Any, tmp_path: Path) -> None:
    book, sites = tmp_path / "book.sqlite", 24
    make_book(book, sites)
    said: dict[str, dict[int, str]] = {"Anna": {}, "Ben": {}}
    orders: dict[str, list[int]] = {"Anna": [], "Ben": []}

    def label_all(browser: Any, name: str) -> None:
        who = Annotator(browser)
        who.enter(server.address, name)
        for n in range(sites):
            site, offers = who.site(), who.offers()
            assert site is not None
            digit = (site * (3 if name == "Anna" else 5) + n) % len(offers)
            orders[name].append(site)
            said[name][site] = offers[digit]
            who.say(str(digit + 1))
        who.until(lambda: who.shown("end"))

    with (
        serving(book, free_port()) as server,
        chromium(tmp_path / "second") as second,
        ThreadPoolExecutor(2) as together,
    ):
        done = [
            together.submit(label_all, browser, name) for browser, name in ((driver, "Anna"), (second, "Ben"))
        ]
        for _ in range(2):
            begun = sum(map(len, said.values()))
            end = time.monotonic() + 120
            while sum(map(len, said.values())) < begun + 10 and not all(d.done() for d in done):
                assert time.monotonic() < end
                time.sleep(0.01)
            server.end(signal.SIGKILL)
            time.sleep(1.0)
            server.start()
        for one in done:
            one.result(timeout=300)
    for name in said:
        assert len(said[name]) == sites
        assert standing(book, name) == said[name]
    assert orders["Anna"] != orders["Ben"]
    with open_book(book) as opened:
        assert len(opened.history()) == 2 * sites  # nothing twice
    driver.execute_script("window.sessionStorage.clear()")


def test_keys_buttons_skip_undo_and_a_second_round(anna: Annotator, tmp_path: Path) -> None:
    book = tmp_path / "book.sqlite"
    make_book(book, 6)
    with serving(book) as server:
        anna.enter(server.address, "Anna")
        first, offers = anna.site(), anna.offers()
        assert offers[-1] == "other"
        anna.say("2")
        assert anna.text("said") == f"Kept: {offers[1]}."
        assert anna.text("count") == "1 of 6"
        anna.say("u")
        assert anna.site() == first
        assert anna.text("count") == "0 of 6"
        assert not anna.driver.find_element("id", "undo").is_enabled()
        anna.press("u")  # there is nothing to take back
        anna.say("3")
        assert standing(book, "Anna") == {first: offers[2]}
        skipped = anna.site()
        anna.say("s")
        assert anna.text("count") == "1 of 6 · 1 skipped"
        other = anna.site()
        anna.driver.find_element("css selector", "#offers button:last-child").click()
        anna.until(lambda: anna.site() != other)
        assert standing(book, "Anna")[other or 0] == "other"
        anna.driver.find_element("id", "skip").click()
        anna.until(lambda: "2 skipped" in anna.text("count"))
        anna.driver.find_element("id", "undo").click()
        anna.until(lambda: "1 skipped" in anna.text("count"))
        for _ in range(3):
            anna.say("1")
        anna.until(lambda: anna.shown("end"))
        assert "skipped 1" in anna.text("end-words")
        anna.driver.find_element("id", "again").click()
        anna.until(lambda: anna.shown("work"))
        assert anna.site() == skipped
        anna.say("1")
        anna.until(lambda: "All 6" in anna.text("end-words"))
        anna.press("u")
        anna.until(lambda: anna.shown("work"))
        assert anna.site() == skipped
        anna.say("2")
        assert anna.complaints() == []
    with open_book(book) as opened:
        kinds = [a.kind for a in opened.history()]
        assert kinds.count(Kind.UNDO) == 3
        assert len(opened.standing()) == 6


def test_whoever_comes_back_goes_on(anna: Annotator, tmp_path: Path) -> None:
    book = tmp_path / "book.sqlite"
    make_book(book, 6)
    with serving(book) as server:
        anna.enter(server.address, "Anna")
        anna.say("1")
        anna.say("2")
        here = anna.site()
        anna.driver.refresh()
        anna.until(lambda: anna.shown("work"))
        assert anna.site() == here
        anna.driver.find_element("id", "leave").click()
        anna.until(lambda: anna.shown("enter"))
        anna.driver.find_element("id", "given").send_keys("Ben\n")
        anna.until(lambda: anna.shown("work"))
        assert anna.text("count") == "0 of 6"
        anna.driver.find_element("id", "leave").click()
        anna.enter(server.address, " anna ")
        assert anna.site() == here
        assert anna.text("count") == "2 of 6"
        assert anna.text("name") == "Anna"


def test_an_answer_without_a_server_is_said_and_sent_once_it_is_back(anna: Annotator, tmp_path: Path) -> None:
    book = tmp_path / "book.sqlite"
    make_book(book, 4)
    with serving(book, free_port()) as server:
        anna.enter(server.address, "Anna")
        site, label = anna.site(), anna.offers()[1]
        server.end(signal.SIGKILL)
        anna.press("2")
        anna.until(lambda: anna.shown("trouble"))
        assert "Nothing is lost" in anna.text("trouble")
        anna.press("3")  # the first is not sent yet: this is no answer
        server.start()
        anna.until(lambda: not anna.busy())
        assert not anna.shown("trouble")
        assert standing(book, "Anna") == {site: label}
        # And where the page itself was closed in the meantime, it is sent when the page is opened again.
        site, label = anna.site(), anna.offers()[0]
        server.end(signal.SIGKILL)
        anna.press("1")
        anna.until(lambda: anna.shown("trouble"))
        server.start()
        anna.driver.refresh()
        anna.until(lambda: anna.shown("work") and not anna.busy())
        assert standing(book, "Anna")[site or 0] == label
        assert len(standing(book, "Anna")) == 2


def test_how_a_picture_is_shown_is_the_viewers_choice(anna: Annotator, tmp_path: Path) -> None:
    make_book(tmp_path / "book.sqlite", 4)
    with serving(tmp_path / "book.sqlite") as server:
        anna.enter(server.address, "Anna")
        pictures = [anna.driver.find_element("id", name) for name in ("picture", "surroundings")]
        anna.until(lambda: all(p.get_property("naturalWidth") == 288 for p in pictures))
        assert pictures[0].size["width"] > 1.3 * pictures[1].size["width"]
        ring = anna.driver.find_element("id", "ring")
        assert ring.is_displayed()
        anna.press("r")
        anna.until(lambda: not ring.is_displayed())
        anna.driver.execute_script(
            "const e = document.getElementById('contrast'); e.value = 2; e.dispatchEvent(new Event('input'))"
        )
        assert "contrast(2)" in pictures[0].get_attribute("style")
        anna.press("0")
        anna.until(lambda: "contrast(1)" in pictures[0].get_attribute("style"))
        assert ring.is_displayed()
        assert anna.complaints() == []


def test_every_control_has_a_name_and_can_be_reached_by_the_keyboard(anna: Annotator, tmp_path: Path) -> None:
    make_book(tmp_path / "book.sqlite", 4)
    with serving(tmp_path / "book.sqlite") as server:
        anna.enter(server.address, "Anna")
        reached = set()
        for _ in range(30):
            anna.driver.switch_to.active_element.send_keys("\t")
            active = anna.driver.switch_to.active_element
            reached.add(active.get_attribute("id") or active.get_attribute("data-label"))
        controls = [
            c for c in anna.driver.find_elements("css selector", "#work button, #work input") if c.is_enabled()
        ]
        for control in controls:
            assert control.accessible_name, control.get_attribute("outerHTML")
            assert (control.get_attribute("id") or control.get_attribute("data-label")) in reached
        for picture in anna.driver.find_elements("css selector", "img"):
            assert picture.get_attribute("alt")
        # A label is chosen from the keyboard without its digit too.
        site = anna.site()
        anna.driver.find_element("css selector", "#offers button:nth-child(2)").send_keys("\n")
        anna.until(lambda: anna.site() != site)


@pytest.mark.skipif(
    not SCREENSHOTS, reason="STEMCTX_SCREENSHOTS names no folder to put pictures of the page into"
)
def test_pictures_for_the_documentation(anna: Annotator, tmp_path: Path) -> None:
    """A simulated frame, labelled by three who are right where a draw says so."""
    assert SCREENSHOTS is not None
    recipe = FrameRecipe(
        optics=MAADF, shape=(640, 640), pixel_size_angstrom=0.16, dose_e_per_angstrom2=4e3, seed=4
    )
    frame = make_frame(recipe)
    np.save(tmp_path / "frame.npy", frame.image)
    book = tmp_path / "book.sqlite"
    options = Declared("WSe2", ("V",), 80.0, 30.0, 50.0, 120.0)
    request = BookRequest((tmp_path / "frame.npy",), options, book, Amounts(25, 20, 40))
    make_from_images(request, Console(quiet=True))
    with open_book(book) as opened:
        rng = np.random.default_rng(0)
        species = {c.role: c.species for c in candidates("WSe2", ("V",))}
        for name, error in (("Ben", 0.03), ("Chen", 0.06), ("Dora", 0.12)):
            who = opened.join(name)
            for site in opened.order(who):
                at = [opened.site(site)[1].y_px, opened.site(site)[1].x_px]
                true = species[frame.role[np.hypot(*(frame.positions_px - at).T).argmin()]]
                label = true if rng.random() > error else str(rng.choice(opened.offered(site)))
                opened.answer(who.number, site, label, f"{name} {site}")
    with serving(book) as server:
        anna.enter(server.address, "Anna")
        for key in "1121s21":
            anna.say(key)
        anna.until(lambda: bool(anna.driver.find_element("id", "picture").get_property("complete")))
        keep_picture(anna, "label_page.jpg")
    told = report([r for r in read_rows([book]) if r.annotator != "Anna"])
    (tmp_path / "report.html").write_text(agreement_page(told, ["book.sqlite"]))
    anna.driver.get((tmp_path / "report.html").as_uri())
    keep_picture(anna, "agreement_report.jpg")


def keep_picture(shown: Annotator, name: str) -> None:
    time.sleep(0.3)  # a picture that has come is not painted yet
    png = shown.driver.get_screenshot_as_png()
    Image.open(io.BytesIO(png)).convert("RGB").save(Path(str(SCREENSHOTS)) / name, quality=82, optimize=True)
