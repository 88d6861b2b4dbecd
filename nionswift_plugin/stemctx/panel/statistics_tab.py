"""The third tab of the panel: the session in numbers, as plots in the library, and as a file."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable
from typing import Any, Final

from nion.ui import Declarative
from nion.utils import Model

from nionswift_plugin.stemctx.statistics.counts import FrameNumbers, SessionStatistics
from nionswift_plugin.stemctx.statistics.plots import (
    Curves,
    counts_curves,
    distance_curves,
    latency_curves,
    plot,
)
from nionswift_plugin.stemctx.threads.guarded import guarded
from nionswift_plugin.stemctx.threads.throttle import Throttle
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.layout import TEXT_WIDTH, bound, row, ui
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx.window.settings import Settings
from stemctx_core.errors import InputError
from stemctx_core.look import formats

_PERIOD_S: Final = 1.0
_FILES: Final = "CSV files (*.csv)"


class StatisticsHandler(Declarative.Handler):  # type: ignore[misc]  # nion is untyped here
    """Shows what the session has shown so far.

    Parameters
    ----------
    feed
        Its statistics are shown; nothing is counted here, so that several windows show the same.
    settings
        Of the plug-in.
    document_controller
        The window.
    """

    def __init__(self, feed: LiveFeed, settings: Settings, document_controller: Any) -> None:
        super().__init__()
        self._feed, self._settings, self._window = feed, settings, document_controller
        self._shown = Throttle(_PERIOD_S)
        self._on_top = True
        self.counts: Any = Model.PropertyModel([])
        self.frames: Any = Model.PropertyModel(formats.NONE)
        self.distance: Any = Model.PropertyModel(formats.NONE)
        self.dose: Any = Model.PropertyModel(formats.NONE)
        self.latency: Any = Model.PropertyModel(formats.NONE)
        self.said: Any = Model.PropertyModel("")
        self._listener: Any = feed.result_changed.listen(self._result_changed)
        self.ui_view = self._laid_out()
        self.update()

    def close(self) -> None:
        """Stop listening."""
        self._listener = None
        super().close()

    def set_on_top(self, on_top: bool) -> None:
        """Whether the tab is seen; what came meanwhile is shown when it is seen again."""
        seen_again, self._on_top = on_top and not self._on_top, on_top
        if seen_again:
            self.update()

    @property
    def session(self) -> SessionStatistics:
        """What is shown."""
        return self._feed.statistics

    def update(self) -> None:
        """Bring the numbers to the newest frame."""
        rows = self.session.rows
        last = rows[-1] if rows else None
        put(self.frames, str(self.session.frames) if last else "none yet")
        put(self.counts, [_density(name, last) for name in self.session.species] if last else [])
        nearest = self.session.distances.mean_nearest_nm
        put(self.distance, formats.NONE if nearest is None else f"{nearest:.2f} nm to the nearest, on average")
        put(self.dose, _dose(last))
        put(self.latency, formats.latency(None if last is None else last.latency_ms))

    # What is clicked.

    def counts_clicked(self, widget: Any) -> None:
        """Plot the densities."""
        self._plot(counts_curves)

    def distances_clicked(self, widget: Any) -> None:
        """Plot the distances."""
        self._plot(distance_curves)

    def latency_clicked(self, widget: Any) -> None:
        """Plot latency and dose."""
        self._plot(latency_curves)

    def clear_clicked(self, widget: Any) -> None:
        """Begin anew."""
        self.session.clear()
        self.update()

    def export_clicked(self, widget: Any) -> None:
        """Ask for a file, and write the history to it."""
        path, _, _ = self._window.get_save_file_path("Export the session", "", _FILES, _FILES)
        if path:
            self._guarded(lambda: self.export(pathlib.Path(path).with_suffix(".csv")))

    def export(self, path: pathlib.Path) -> None:
        """Write the history to a CSV file.

        Raises
        ------
        InputError
            Where there is none yet, or the file cannot be written.
        """
        if not self.session.rows:
            raise InputError("There is nothing to export. Start judging, and wait for the first whole frame.")
        try:
            self.session.write_csv(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error}). Choose another file.") from error
        put(self.said, f"{len(self.session.rows)} rows were written to {path}.")

    def _plot(self, curves_of: Callable[[SessionStatistics], Curves]) -> None:
        def show() -> None:
            item = plot(self._window.document_model, curves_of(self.session))
            display_item = self._window.document_model.get_display_item_for_data_item(item)
            self._window.show_display_item(display_item, request_focus=False)
            put(self.said, f"'{item.title}' is in the library. Press again to bring it up to date.")

        self._guarded(show)

    def _guarded(self, act: Callable[[], None]) -> None:
        guarded("A click in the statistics", act, lambda text: put(self.said, text))

    def _result_changed(self) -> None:
        if self._on_top and self._shown.ready():
            self.update()

    def _laid_out(self) -> Any:
        def said(label: str, name: str) -> Any:
            return row(label, ui.create_label(text=bound(f"{name}.value")))

        def button(text: str, name: str, tip: str) -> Any:
            return ui.create_push_button(text=text, on_clicked=f"{name}_clicked", tool_tip=tip)

        return ui.create_column(
            said("Whole frames", "frames"),
            ui.create_list_box(items_ref=bound("counts.value"), min_height=110, min_width=280),
            said("Distance", "distance"),
            said("Dose", "dose"),
            said("Latency", "latency"),
            row(
                "Plot",
                button("Plot counts", "counts", "Density of each species over time"),
                button("Plot distances", "distances", "Radial distribution and nearest neighbours"),
                button("Plot latency", "latency", "Latency and dose over time"),
            ),
            row(
                "Session",
                button("Export CSV", "export", "One line for each row of the history"),
                button("Begin anew", "clear", "Forget what was counted so far"),
            ),
            ui.create_label(text=bound("said.value"), word_wrap=True, max_width=TEXT_WIDTH),
            ui.create_stretch(),
            spacing=4,
            margin=6,
        )


def _density(name: str, last: FrameNumbers) -> str:
    count, density = last.counts.get(name, 0.0), last.density_per_cm2(name)
    return f"{name}   {count:g} here   {formats.density(density)}"


def _dose(last: FrameNumbers | None) -> str:
    if last is None or math.isnan(last.dose_e_per_angstrom2):
        return formats.NONE
    return f"{formats.dose(last.dose_e_per_angstrom2)} a frame, {formats.number(last.dose_so_far_e_per_angstrom2)} on this field"
