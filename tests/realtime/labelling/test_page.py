"""The server of the labelling page: who may ask, what is answered, and what an annotator is never told."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from realtime.labelling.commands import register
from realtime.labelling.guard import MOST_BODY_BYTES
from realtime.labelling.serving import page_key
from realtime.labelling.turns import Turns
from stemctx_core.context import Known, Source
from stemctx_core.errors import InputError, PortInUse, StemctxError
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.book import Book, open_book
from stemctx_core.labelling.records import Kind
from tests.core.frames import FrameRecipe, make_frame
from tests.realtime.label_book import ask, make_book, serving


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.sqlite"
    make_book(path)
    return path


@pytest.fixture(scope="module")
def address(book: Path) -> Iterator[str]:
    with serving(book) as server:
        yield server.address


def post(address: str, path: str, body: Any) -> Any:
    status, _, told = ask(address, path, body)
    assert status == 200, told
    return json.loads(told)


def test_the_page_comes_whole_and_may_load_nothing_from_elsewhere(address: str) -> None:
    for path, kind in (("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")):
        status, headers, body = ask(address, path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert not re.search(rb"https?://", body)
        assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:80"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": None}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Origin": None}, 403),
        ({"Content-Length": str(MOST_BODY_BYTES + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_who_is_not_the_page_is_turned_away(
    headers: dict[str, Any], status: int, address: str, book: Path
) -> None:
    told, given, body = ask(
        address, "join", b'{"name": "Eve"}' if "Transfer-Encoding" not in headers else b"0\r\n\r\n", headers
    )
    assert told == status
    if status != 400:  # that one is not even HTTP
        assert "content-security-policy" in given
    assert b"Eve" not in body
    with open_book(book) as opened:
        assert "Eve" not in [a.name for a in opened.annotators()]


def test_without_the_secret_there_is_nothing(address: str) -> None:
    at = urlsplit(address)
    key = at.path.strip("/")
    for path in ("/", "/page.js", f"/{key[:-1]}/", f"/{key}x/", "/next", f"//{key}/", f"/x/{key}/"):
        assert ask(f"http://{at.netloc}", path)[0] == 404


def test_nothing_listens_but_loopback(address: str) -> None:
    port = urlsplit(address).port
    assert port is not None
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", port), timeout=2).close()


def test_paths_lead_nowhere_else(address: str) -> None:
    for path in ("../page.js", "page/index.html", "picture/1/../../book", "picture/1/patch", "picture/x/site.png",
                 "picture/-1/site.png", "%2e%2e/", "docs", "openapi.json"):  # fmt: skip
        assert ask(address, path)[0] in {400, 404}
    assert ask(address, "join", method="DELETE")[0] == 405


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("join", b"{"),
        ("join", b"\xff\xfe"),
        ("join", {"name": ""}),
        ("join", {"name": "x" * 200}),
        ("join", {"name": "Anna", "admin": True}),
        ("next", {"annotator": 10**9}),
        ("next", {"annotator": -1}),
        ("next", {"annotator": 2**70}),
        ("answer", {"annotator": 1, "site": 1}),
        ("answer", {"annotator": 1, "site": 1, "label": "<b>", "request": "r" * 20, "seconds": 1}),
        ("answer", {"annotator": 1, "site": 1, "label": "other", "request": "short", "seconds": 1}),
        ("answer", {"annotator": 1, "site": 1, "label": "other", "request": "r" * 20, "seconds": 1e9}),
        ("answer", {"annotator": 1, "site": 999, "label": "other", "request": "r" * 20, "seconds": 1}),
        ("undo", {"annotator": 99, "request": "r" * 20}),
        ("undo", b"[" * 4000),
    ],
)
def test_what_the_page_does_not_ask_is_an_error_in_words(
    path: str, body: Any, address: str, book: Path
) -> None:
    post(address, "join", {"name": "Anna"})
    status, _, told = ask(address, path, body)
    assert status == 400
    assert json.loads(told)["error"]
    with open_book(book) as opened:
        assert opened.history() == []


def test_the_server_outlives_a_peer_that_says_nothing_or_nonsense(address: str) -> None:
    at = urlsplit(address)
    with (
        socket.create_connection((at.hostname, at.port)) as silent,
        socket.create_connection((at.hostname, at.port)) as mad,
    ):
        mad.sendall(b"\x00\xff" * 40_000)
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert ask(address)[0] == 200


def test_an_annotator_is_told_nothing_of_the_model(tmp_path: Path) -> None:
    """Books that differ in nothing but what the model said look the same through every reply."""
    told = []
    for found in range(3):
        path = tmp_path / f"{found}.sqlite"
        make_book(path, 8, found)
        with open_book(path) as opened:
            who, turns = opened.join("Anna"), Turns(opened)
            turn = turns.turn(who.number)
            seen = [msgspec.json.encode(turn)]
            while turn.site is not None:
                opened.answer(who.number, turn.site, turn.offers[-1].label, f"r{len(seen)}")
                turn = turns.turn(who.number)
                seen.append(msgspec.json.encode(turn))
        told.append(seen)
    assert len(told[0]) == 9
    assert told[0] == told[1] == told[2]


def test_a_round_through_what_was_skipped_ends(tmp_path: Path) -> None:
    make_book(tmp_path / "b.sqlite", 6)
    with open_book(tmp_path / "b.sqlite") as opened:
        who, turns = opened.join("Anna").number, Turns(opened)
        for n in range(6):
            site = turns.turn(who).site
            assert site is not None
            opened.answer(who, site, "other" if n % 2 else "", f"first {n}")
        end = turns.turn(who)
        assert (end.site, end.done, end.skipped, end.total) == (None, 3, 3, 6)
        seen = []
        while (turn := turns.turn(who, again=end.last)).site is not None:
            seen.append(turn.site)
            opened.answer(who, turn.site, "" if len(seen) == 1 else "other", f"again {turn.site}")
        assert len(seen) == len(set(seen)) == 3
        assert (turn.done, turn.skipped) == (5, 1)


def test_a_killed_server_loses_nothing_and_is_found_at_the_same_address(tmp_path: Path) -> None:
    path = tmp_path / "book.sqlite"
    make_book(path)
    with serving(path) as server:
        address = server.address
        anna = post(address, "join", {"name": "Anna"})["number"]
        turn = post(address, "next", {"annotator": anna})
        said = {}
        for n in range(5):
            site, label = turn["site"], turn["offers"][n % 3]["label"]
            body = {
                "annotator": anna,
                "site": site,
                "label": label,
                "request": f"request-{n:020d}",
                "seconds": 1.5,
            }
            said[site] = label
            turn = post(address, "answer", body)
        server.end(signal.SIGKILL)
        again = server.start()
        assert urlsplit(again).path == urlsplit(address).path
        assert (
            post(again, "answer", body)["done"] == 5
        )  # its reply may have been lost: the same request once more
        assert post(again, "next", {"annotator": anna}) == turn
    with open_book(path) as opened:
        assert {a.site: a.label for a in opened.standing()} == said
        assert len(opened.history()) == 5


def test_a_server_that_is_told_to_stop_closes_the_book(tmp_path: Path) -> None:
    make_book(tmp_path / "book.sqlite")
    for by in (signal.SIGTERM, signal.SIGINT):
        with serving(tmp_path / "book.sqlite") as server:
            post(server.address, "join", {"name": by.name})
            code, told = server.end(by)
        assert code == 0
        assert "Stopped" in told
        assert not (tmp_path / "book.sqlite-wal").exists()


def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    book = tmp_path / "book.sqlite"
    key = page_key(book)
    assert page_key(book) == key
    assert len(key) >= 32
    kept = tmp_path / "book.sqlite.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text("../..")
    with pytest.raises(InputError, match="Remove it"):
        page_key(book)


def run(*arguments: str) -> str:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, ["label", *arguments])
    if isinstance(done.exception, StemctxError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_port_that_is_taken_and_a_book_without_sites_are_said(
    book: Path, tmp_path: Path, address: str
) -> None:
    with pytest.raises(PortInUse, match="--port"):
        run("serve", str(book), "--port", str(urlsplit(address).port))
    Book.create(tmp_path / "empty.sqlite").close()
    with pytest.raises(InputError, match="no site"):
        run("serve", str(tmp_path / "empty.sqlite"))


def test_from_a_micrograph_to_labels_for_training(tmp_path: Path) -> None:
    frame = make_frame(FrameRecipe(shape=(256, 256), seed=5)).image
    image, book = tmp_path / "frame.tif", tmp_path / "book.sqlite"
    tifffile.imwrite(image, frame)
    options = ["--host", "WSe2", "--candidates", "V", "--high-tension-kv", "80", "--convergence-mrad", "30",
               "--inner-mrad", "70", "--outer-mrad", "200"]  # fmt: skip
    told = run("make", str(image), *options, "--output", str(book), "--flagged", "3", "--passed", "4")
    assert "frame.tif:" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["book.sqlite", "frame.tif"]
    with pytest.raises(InputError, match="there already"):
        run("make", str(image), *options, "--output", str(book))
    with open_book(book) as opened:
        context = opened.site(1)[0].context
        assert context.channel == "frame.tif"
        assert isinstance(context.inner_mrad, Known)
        assert context.inner_mrad.detail == "--inner-mrad"
        for name in ("Anna", "Ben"):
            who = opened.join(name)
            for n, site in enumerate(opened.order(who)):
                opened.answer(who.number, site, opened.site(site)[1].found if n % 5 else "", f"{name} {site}")
        count, answers = len(opened.sites()), opened.standing()
    assert "Anna" in run("status", str(book))
    assert f"wrote {2 * count} answers" in run("export", str(book), str(tmp_path / "labels.csv"))
    run("export", str(book), str(tmp_path / "labels.jsonl"))
    labels = hand_labels.read(tmp_path / "labels.jsonl").labels
    assert len(labels) == len({a.site for a in answers if a.kind is Kind.LABEL})
    run("import", str(tmp_path / "second.sqlite"), str(tmp_path / "labels.jsonl"), "--annotator", "Chen")
    with pytest.raises(InputError, match="no annotator"):
        run("export", str(book), str(tmp_path / "x.jsonl"), "--annotator", "Dora")
    with sqlite3.connect(book) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_what_cannot_be_judged_is_left_out_and_told(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    images = tmp_path / "images"
    images.mkdir()
    np.save(images / "noise.npy", np.random.default_rng(0).normal(100, 10, (256, 256)))
    (images / "cut.npy").write_bytes(b"\x93NUMPY")
    (images / "stemctx.toml").write_text(
        'host = "WSe2"\ncandidates = ["V"]\nhigh_tension_kv = 80.0\ninner_mrad = 70\nouter_mrad = 200\n'
    )
    command = ["label", "make", str(images), "--output", str(tmp_path / "book.sqlite")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "noise.npy was not judged" in done.output
    assert "left out" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["images"]
    frames = [make_frame(FrameRecipe(shape=(256, 256), seed=seed)).image for seed in (5, 6)]
    np.save(images / "stack.npy", np.stack(frames))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    with open_book(tmp_path / "book.sqlite") as opened:
        found = {opened.site(site)[0].name: opened.site(site)[0] for site in opened.sites()}
    assert sorted(found) == ["stack.npy #0", "stack.npy #1"]
    assert found["stack.npy #0"].context.high_tension_kv == Known(80.0, Source.USER, "stemctx.toml")


def test_a_request_larger_than_it_says_is_cut_off(address: str) -> None:
    at = urlsplit(address)
    with socket.create_connection((at.hostname, at.port), timeout=10) as link:
        head = f"POST {at.path}join HTTP/1.1\r\nHost: {at.netloc}\r\nOrigin: http://{at.netloc}\r\nContent-Type: application/json\r\n"
        link.sendall(f"{head}Content-Length: 4\r\n\r\n".encode() + b"x" * 100_000)
        reply = http.client.HTTPResponse(link)
        reply.begin()
        assert reply.status == 400
