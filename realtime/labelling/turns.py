"""What an annotator sees next, and what is said of it: blind to the model and to the others."""

from __future__ import annotations

from typing import Final

import msgspec

from stemctx_core.chemistry.classes import HOST_ROLES, Sublattice
from stemctx_core.context import ImagingContext, Known
from stemctx_core.labelling.book import Book
from stemctx_core.labelling.records import OTHER, Kind, offered
from stemctx_core.look.colours import NO_ROLE, ROLE_COLOURS, ROLE_WORDS

_SITES: Final = {Sublattice.METAL: "metal site", Sublattice.CHALCOGEN: "chalcogen site"}


class Offer(msgspec.Struct, frozen=True):
    """One thing that may be said."""

    label: str
    words: str
    colour: str


class Turn(msgspec.Struct, frozen=True):
    """What the page shows. Nothing in it follows from what the model or another person said of the site.

    Attributes
    ----------
    site
        Number of the site that is asked about; None where there is none left.
    after
        The one that comes then, so that its pictures can be fetched ahead.
    done, skipped, total
        Labelled sites, skipped ones, and all.
    last
        Number of the newest answer in the book: where a round through what was skipped begins.
    can_undo
        Whether there is an answer to take back.
    place, conditions
        Which sublattice, and how the frame was imaged, in words.
    picture_angstrom, surroundings_angstrom
        Width of the two pictures; the second is 0 where there is none.
    """

    site: int | None
    after: int | None
    done: int
    skipped: int
    total: int
    last: int
    can_undo: bool
    offers: tuple[Offer, ...] = ()
    place: str = ""
    conditions: str = ""
    picture_angstrom: float = 0.0
    surroundings_angstrom: float = 0.0


class Turns:
    """The turns of all annotators of one book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._orders: dict[int, list[int]] = {}

    def turn(self, annotator: int, again: int | None = None, site: int | None = None) -> Turn:
        """What is next for an annotator.

        Parameters
        ----------
        again
            Ask about skipped sites: those whose skip is no newer than this answer.
        site
            Ask about this one, because its answer was taken back.

        Raises
        ------
        InputError
            An annotator or a site that is not there.
        """
        order = self._order(annotator)
        standing = {a.site: a for a in self._book.standing(annotator)}
        if again is None:
            waiting = [s for s in order if s not in standing]
        else:
            waiting = [
                s for s in order
                if s in standing and standing[s].kind is Kind.SKIP and standing[s].number <= again
            ]  # fmt: skip
        if site is not None:
            waiting = [site, *(s for s in waiting if s != site)]
        skipped = sum(a.kind is Kind.SKIP for a in standing.values())
        turn = Turn(
            site=waiting[0] if waiting else None,
            after=waiting[1] if len(waiting) > 1 else None,
            done=len(standing) - skipped,
            skipped=skipped,
            total=len(order),
            last=self._book.last(),
            can_undo=bool(standing),
        )
        return self._asked(turn, waiting[0]) if waiting else turn

    def _asked(self, turn: Turn, number: int) -> Turn:
        frame, site = self._book.site(number)
        listed = offered(frame.context, site.sublattice)
        offers = [
            Offer(
                c.species,
                "nothing changed" if c.role in HOST_ROLES else ROLE_WORDS[c.role],
                ROLE_COLOURS[c.role],
            )
            for c in listed
        ]
        return msgspec.structs.replace(
            turn,
            offers=(*offers, Offer(OTHER, "none of these", NO_ROLE)),
            place=_SITES[site.sublattice],
            conditions=_conditions(frame.context),
            picture_angstrom=site.picture_angstrom,
            surroundings_angstrom=site.surroundings_angstrom,
        )

    def _order(self, annotator: int) -> list[int]:
        who = self._book.annotator(annotator)
        count = len(self._book.sites())
        if len(self._orders.get(annotator, [])) != count:
            self._orders[annotator] = self._book.order(who)
        return self._orders[annotator]


def _conditions(context: ImagingContext) -> str:
    parts = [context.host]
    if isinstance(context.high_tension_kv, Known):
        parts.append(f"{context.high_tension_kv.value:g} kV")
    inner, outer = context.inner_mrad, context.outer_mrad
    if isinstance(inner, Known) and isinstance(outer, Known):
        parts.append(f"detector {inner.value:g}–{outer.value:g} mrad")
    if context.dopants:
        parts.append(f"looked for: {', '.join(context.dopants)}")
    return " · ".join(parts)
