"""The second tab of the panel: the flags as a list, and what can be done with the one that is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Final

from nion.ui import Declarative
from nion.utils import Model

from nionswift_plugin.stemctx.flags import actions
from nionswift_plugin.stemctx.flags.flag_rows import MOST_ROWS, ORDERS, FlagRow, in_order, rows_of, title_of
from nionswift_plugin.stemctx.flags.flag_tasks import FlagTasks
from nionswift_plugin.stemctx.flags.labels import species_at
from nionswift_plugin.stemctx.flags.list_layout import laid_out
from nionswift_plugin.stemctx.flags.marks import Mark, Marks
from nionswift_plugin.stemctx.service.passes import is_whole, shown_flags
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.settings import Settings
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.results import Decision, FrameResult

#: A flag that was centred is looked for within this part of the lattice constant: the specimen drifts meanwhile.
_MIDDLE: Final = 0.6


class FlagListHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Lists the flags that are on the screen.

    Parameters
    ----------
    feed
        What is on the screen.
    settings
        Say where labels are kept.
    document_controller
        The window.

    Attributes
    ----------
    rows
        As they stand in the list.
    """

    def __init__(self, feed: LiveFeed, settings: Settings, document_controller: Any) -> None:
        super().__init__()
        self._feed, self._closed, self._on_top = feed, False, True
        self._tasks = FlagTasks(feed, settings, document_controller, self._say)
        self.rows: list[FlagRow] = []
        self._chosen: tuple[float, float] | None = None
        self._field: Hashable = None
        self._centred = False
        self._marks = Marks()
        self.title: Any = Model.PropertyModel("No flags")
        self.texts: Any = Model.PropertyModel([])
        self.orders: Any = Model.PropertyModel(list(ORDERS))
        self.order: Any = Model.PropertyModel(0)
        self.backwards: Any = Model.PropertyModel(False)
        self.species: Any = Model.PropertyModel([])
        self.species_index: Any = Model.PropertyModel(0)
        self.said: Any = Model.PropertyModel("")
        self.can_act: Any = Model.PropertyModel(False)
        self.list_box: Any = None
        self._putting = False
        for model in (self.order, self.backwards):
            model.on_value_changed = lambda _: self._update()
        self._listeners: list[Any] = [
            feed.result_changed.listen(self._feed_changed),
            feed.rule_changed.listen(self._feed_changed),
        ]
        self.ui_view = laid_out()
        self._update()

    def close(self) -> None:
        """Stop listening, and wait for what is under way."""
        if not self._closed:
            self._closed = True
            self._listeners.clear()
            self.order.on_value_changed = self.backwards.on_value_changed = None
            self._tasks.close()
        super().close()

    def init_handler(self) -> None:
        """Nion's call when the widgets are there."""
        # Nion's lists take an `on_item_changed` and never call it; a click changes their selection.
        self.list_box.on_selection_changed = lambda indexes: self.row_chosen(
            self.list_box, min(indexes, default=None)
        )
        self._update()

    def set_on_top(self, on_top: bool) -> None:
        """Whether the tab is seen; what came meanwhile is listed when it is seen again."""
        seen_again, self._on_top = on_top and not self._on_top, on_top
        if seen_again:
            self._update()

    @property
    def chosen(self) -> FlagRow | None:
        """The row that is chosen, if its site is still flagged."""
        at = self._chosen
        return next((row for row in self.rows if row.is_at(*at)), None) if at is not None else None

    # What is clicked.

    def row_chosen(self, widget: Any, current_index: int | None) -> None:
        """A row was chosen, or none."""
        if self._putting:
            return
        inside = current_index is not None and 0 <= current_index < len(self.rows)
        row = self.rows[current_index] if inside and current_index is not None else None
        self._chosen = (row.y_px, row.x_px) if row is not None else None
        self._show_species()

    def centre_clicked(self, widget: Any) -> None:
        """Scan with the flag in the middle."""
        self._at_chosen(self._look)

    def smaller_clicked(self, widget: Any) -> None:
        """Scan a smaller field with the flag in the middle."""
        self._at_chosen(lambda row: self._look(row, actions.ZOOM_NM))

    def zoom_clicked(self, widget: Any) -> None:
        """Show the place of the flag larger."""
        self._at_chosen(self._tasks.zoom)

    def whole_clicked(self, widget: Any) -> None:
        """Show the whole image again."""
        self._tasks.guarded(self._tasks.show_all)

    def subscan_clicked(self, widget: Any) -> None:
        """Record a subscan around the flag."""
        self._at_chosen(self._tasks.subscan)

    def accept_clicked(self, widget: Any) -> None:
        """The flag is right."""
        self._label(Judgement.ACCEPT)

    def reject_clicked(self, widget: Any) -> None:
        """The host's own column stands there."""
        self._label(Judgement.REJECT)

    def relabel_clicked(self, widget: Any) -> None:
        """The species that is picked stands there."""
        species = self.species.value[self.species_index.value or 0] if self.species.value else ""
        self._label(Judgement.RELABEL, species)

    def export_clicked(self, widget: Any) -> None:
        """Ask for a file, and write every site of the frame to it."""
        self._tasks.guarded(self._tasks.ask_and_export)

    def snapshot_clicked(self, widget: Any) -> None:
        """Keep image and flags in the library."""
        self._tasks.guarded(self._tasks.snapshot)

    def _look(self, row: FlagRow, field_of_view_nm: float | None = None) -> None:
        self._tasks.look(row, field_of_view_nm)
        self._centred = True  # it is chosen again where it is found in the middle of the next field

    def _at_chosen(self, act: Callable[[FlagRow], None]) -> None:
        chosen = self.chosen
        if chosen is None:
            self._say("No flag is chosen. Choose one in the list.")
        else:
            self._tasks.guarded(lambda: act(chosen))

    def _feed_changed(self) -> None:
        if self._on_top:
            self._update()

    def _update(self) -> None:
        """Bring the list to what is on the screen; what is chosen stays chosen while its site is flagged."""
        result, origin = self._feed.result, self._feed.origin
        field = origin.field if origin is not None else None
        if result is None or field != self._field:
            self._field = field
            self._chosen = None
        flags = shown_flags(result, self._feed.before, self._feed.rule) if result is not None else ()
        order = list(ORDERS)[self.order.value or 0]
        rows = in_order(rows_of(flags, origin.passes if origin else 1), order, bool(self.backwards.value))
        flagged = len(result.where(Decision.FLAG)) if result is not None else 0
        hidden = max(0, flagged - sum(not flag.older for flag in flags))
        self.rows = rows[:MOST_ROWS]
        self.title.value = title_of(result, rows, hidden)
        texts = [row.text(self._marks.of(field, row)) for row in self.rows]
        if self._centred and self._chosen is None and result is not None:
            self._choose_middle(result)
        if (chosen := self.chosen) is not None:
            self._chosen = chosen.y_px, chosen.x_px  # a site that drifts is followed
        self._putting = True
        try:
            if texts != self.texts.value:
                self.texts.value = texts
            if self.list_box is not None:
                self.list_box.current_index = self.rows.index(chosen) if chosen is not None else None
        finally:
            self._putting = False
        self._show_species()

    def _choose_middle(self, result: FrameResult) -> None:
        height, width = result.frame.shape
        middle = (height - 1) / 2, (width - 1) / 2
        near = [row for row in self.rows if row.is_at(*middle, within=_MIDDLE)]
        if near:
            row = min(near, key=lambda r: math.hypot(r.y_px - middle[0], r.x_px - middle[1]))
            self._chosen, self._centred = (row.y_px, row.x_px), False
        elif is_whole(result):
            self._centred = False

    def _show_species(self) -> None:
        chosen = self.chosen
        self.can_act.value = chosen is not None
        species = list(species_at(chosen.flag.result, chosen.flag.site)) if chosen is not None else []
        if species != self.species.value:
            self.species.value = species
            self.species_index.value = 0

    def _say(self, text: str) -> None:
        if not self._closed:
            self.said.value = text

    def _label(self, judgement: Judgement, species: str = "") -> None:
        field = self._field

        def marked(mark: Mark) -> None:
            self._marks.add(field, mark)
            self._update()

        self._at_chosen(lambda row: self._tasks.label(row, judgement, species, marked))
