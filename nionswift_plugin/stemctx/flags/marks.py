"""What the operator said of flags, kept by the field they stand in, so that coming back shows it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

from nionswift_plugin.stemctx.flags.flag_rows import FlagRow
from stemctx_core.labelling.hand_labels import Judgement

#: Fields and marks of a field that are kept; the ones looked at longest ago make room.
MOST_FIELDS: Final = 200
MOST_OF_A_FIELD: Final = 1000
_SIGNS: Final = {Judgement.ACCEPT: "✓", Judgement.REJECT: "✗", Judgement.RELABEL: "→"}


class Mark(NamedTuple):
    """What was said of the site at a place.

    Attributes
    ----------
    y_px, x_px
        Array index in the frame.
    judgement, species
        What was said, and which species stands there by that.
    """

    y_px: float
    x_px: float
    judgement: Judgement
    species: str

    @property
    def text(self) -> str:
        """As it stands before a row."""
        return _SIGNS[self.judgement] + (f" {self.species}:" if self.judgement is Judgement.RELABEL else "")


class Marks:
    """Marks of the fields that were looked at; bounded."""

    def __init__(self) -> None:
        self._fields: OrderedDict[Hashable, list[Mark]] = OrderedDict()

    def add(self, field: Hashable, mark: Mark) -> None:
        """Keep a mark; of one site the newest counts."""
        marks = self._fields.setdefault(field, [])
        marks.append(mark)
        del marks[:-MOST_OF_A_FIELD]
        self._fields.move_to_end(field)
        while len(self._fields) > MOST_FIELDS:
            self._fields.popitem(last=False)

    def of(self, field: Hashable, row: FlagRow) -> str:
        """The newest mark of a row's site as text, or an empty one; it goes with its site where that drifts."""
        marks = self._fields.get(field, [])
        for n in reversed(range(len(marks))):
            if row.is_at(marks[n].y_px, marks[n].x_px):
                marks[n] = marks[n]._replace(y_px=row.y_px, x_px=row.x_px)
                return marks[n].text
        return ""
