"""The page and what it asks: five addresses under the secret one."""

from __future__ import annotations

import json
from importlib import resources
from typing import Annotated, Any, Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from realtime.labelling.guard import MOST_BODY_BYTES, Guard
from realtime.labelling.turns import Turn, Turns
from stemctx_core.errors import InputError
from stemctx_core.labelling.book import MOST_NAME, Book

_Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Label = Annotated[str, msgspec.Meta(max_length=40)]
_RequestId = Annotated[str, msgspec.Meta(min_length=16, max_length=64, pattern="^[0-9a-zA-Z-]+$")]
#: A picture is looked at for an hour at most; beyond it the annotator was elsewhere.
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
_FILES: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class Joining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An annotator says a name."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=4 * MOST_NAME)]


class Joined(msgspec.Struct, frozen=True):
    """Who that is."""

    number: int
    name: str


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An annotator asks what is next."""

    annotator: _Number
    again: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class Answering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A label, or a skip where it is empty."""

    annotator: _Number
    site: _Number
    label: _Label
    request: _RequestId
    seconds: _Seconds
    again: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class Undoing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take back the last answer."""

    annotator: _Number
    request: _RequestId
    again: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


Asked = TypeVar("Asked", bound=msgspec.Struct)


class LabelPage:
    """Answers the page's requests from a book.

    Every handler runs on the one thread of the event loop: SQLite's writes take milliseconds, and no lock is needed.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._turns = Turns(book)

    def app(self, key: str, port: int) -> ASGIApp:
        """The application behind its guard."""
        post = {"methods": ["POST"]}
        routes = [
            *(Route(f"/{path}", self.file, methods=["GET"]) for path in _FILES),
            Route("/picture/{site:int}/{which}", self.picture, methods=["GET"]),
            Route("/names", self.names, methods=["GET"]),
            Route("/join", self.join, **post),  # type: ignore[arg-type]
            Route("/next", self.next, **post),  # type: ignore[arg-type]
            Route("/answer", self.answer, **post),  # type: ignore[arg-type]
            Route("/undo", self.undo, **post),  # type: ignore[arg-type]
        ]
        handlers: dict[Any, Any] = {InputError: _told}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), key, port)

    async def file(self, request: Request) -> Response:
        """The page, its style and its script."""
        name, kind = _FILES[request.url.path.removeprefix("/")]
        return Response((resources.files(__package__) / "page" / name).read_bytes(), media_type=kind)

    async def picture(self, request: Request) -> Response:
        """The picture of a site, or its surroundings."""
        _, site = self._book.site(request.path_params["site"])
        pictures = {"site.png": site.picture, "surroundings.png": site.surroundings}
        png = pictures.get(request.path_params["which"])
        if not png:
            raise HTTPException(404)
        return Response(png, media_type="image/png")

    async def names(self, _: Request) -> Response:
        """Who labelled before, for whoever comes back."""
        return JSONResponse([a.name for a in self._book.annotators()])

    async def join(self, request: Request) -> Response:
        """A name becomes an annotator."""
        asked = await _read(request, Joining)
        who = self._book.join(asked.name)
        return _reply(Joined(who.number, who.name))

    async def next(self, request: Request) -> Response:
        """What is next for an annotator."""
        asked = await _read(request, Asking)
        return _reply(self._turns.turn(asked.annotator, asked.again))

    async def answer(self, request: Request) -> Response:
        """Keep an answer; the reply is what is next, once it is on the disk."""
        asked = await _read(request, Answering)
        self._book.answer(asked.annotator, asked.site, asked.label, asked.request, asked.seconds)
        return _reply(self._turns.turn(asked.annotator, asked.again))

    async def undo(self, request: Request) -> Response:
        """Take back the last answer; the reply asks about its site again."""
        asked = await _read(request, Undoing)
        undone = self._book.undo(asked.annotator, asked.request)
        return _reply(self._turns.turn(asked.annotator, asked.again, undone.site if undone else None))


async def _read(request: Request, kind: type[Asked]) -> Asked:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise HTTPException(413)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"This is not what the page asks: {error}.") from error


def _reply(told: Turn | msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(told), media_type="application/json")


async def _told(_: Request, error: Exception) -> Response:
    return Response(json.dumps({"error": str(error)}), 400, media_type="application/json")
