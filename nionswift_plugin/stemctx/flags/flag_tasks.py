"""What is done at a flag of the list when a button is pressed."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable
from typing import Any

from nion.swift.model import DataItem

from nionswift_plugin.stemctx.flags import actions
from nionswift_plugin.stemctx.flags.flag_rows import FlagRow
from nionswift_plugin.stemctx.flags.labels import FILE_NAME, label_of
from nionswift_plugin.stemctx.flags.marks import Mark
from nionswift_plugin.stemctx.flags.snapshot import snapshot
from nionswift_plugin.stemctx.service.passes import whole_of
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from nionswift_plugin.stemctx.threads.background import Background
from nionswift_plugin.stemctx.threads.guarded import guarded
from nionswift_plugin.stemctx.window.feed import LiveFeed
from nionswift_plugin.stemctx.window.settings import Settings
from stemctx_core.errors import InputError
from stemctx_core.labelling.hand_labels import Judgement, append

logger = logging.getLogger(__name__)


class FlagTasks:
    """Does what takes long on a thread of its own, and the rest at once; to be called on the window's thread.

    Parameters
    ----------
    feed
        What is on the screen.
    settings
        Say where labels are kept.
    window
        Nion Swift's document window.
    say
        Tells the operator; called on the window's thread.
    """

    def __init__(
        self,
        feed: LiveFeed,
        settings: Settings,
        window: Any,
        say: Callable[[str], None],
    ) -> None:
        self._feed, self._settings, self._window = feed, settings, window
        self._say = say
        self._closed = False
        self._background = Background("stemctx-flag-list", lambda text: self._later(lambda: say(text)))

    def close(self) -> None:
        """Do nothing more, and wait for what is under way."""
        self._closed = True
        self._background.close()

    @property
    def labels_path(self) -> pathlib.Path:
        """Where labels are kept.

        Raises
        ------
        InputError
            Where this Nion Swift has no folder for its settings.
        """
        if self._settings.folder is None:
            raise InputError("This Nion Swift keeps no settings, so that labels cannot be kept either.")
        return self._settings.folder / FILE_NAME

    def guarded(self, act: Callable[[], None]) -> None:
        """Do something, and tell the operator what goes wrong."""
        guarded("A click in the list of flags", act, self._say)

    def look(self, row: FlagRow, field_of_view_nm: float | None = None) -> None:
        """Scan with a flag in the middle, and a smaller field where one is given."""
        frame = self._frame(row)
        area = actions.scanned_area(frame.metadata, frame.shape)
        at = actions.place_nm(area, row.y_px, row.x_px)
        actions.centre(self._scan(), at, field_of_view_nm)
        self._say(f"{row.species} is in the middle from the next frame on: y {at[0]:.2f}, x {at[1]:.2f} nm.")

    def zoom(self, row: FlagRow) -> None:
        """Show the place of a flag larger."""
        frame = self._frame(row)
        height, width = frame.shape
        field_nm = width * frame.pixel_size_nm[1] if frame.pixel_size_nm else 4 * actions.ZOOM_NM
        for item in self._display_items():
            actions.zoom_display(item, (row.y_px + 0.5) / height, (row.x_px + 0.5) / width, field_nm)

    def show_all(self) -> None:
        """Show the whole image again."""
        for item in self._display_items():
            actions.show_all(item)

    def subscan(self, row: FlagRow) -> None:
        """Record a subscan around a flag into the library."""
        frame, scan = self._frame(row), self._scan()
        area = actions.scanned_area(frame.metadata, frame.shape)
        at, species = actions.place_nm(area, row.y_px, row.x_px), row.species

        def record() -> None:
            frames = actions.record_subscan(scan, area, at)
            self._later(lambda: self._keep(frames, species))

        self._background.do(record)
        self._say(f"Scanning around {species} at y {at[0]:.2f}, x {at[1]:.2f} nm.")

    def label(self, row: FlagRow, judgement: Judgement, species: str, marked: Callable[[Mark], None]) -> None:
        """Keep what the operator says of a flag; `marked` is called on the window's thread when it is on the disk."""
        frame, path, flag = self._frame(row), self.labels_path, row.flag

        def keep() -> None:
            label = label_of(flag.result, flag.site, frame.data, judgement, species)
            append(path, label)
            self._later(lambda: kept(label.label))

        def kept(stands: str) -> None:
            marked(Mark(row.y_px, row.x_px, judgement, stands))
            self._say(
                f"Kept: {row.species} at y {row.y_px:.1f}, x {row.x_px:.1f} is {stands}. Labels are in {path}."
            )

        self._background.do(keep)

    def export(self, path: pathlib.Path) -> None:
        """Write every site of the newest whole frame to a CSV file."""
        result = self._feed.result
        if result is None:
            raise InputError("There is nothing to export. Start judging, and wait for the first frame.")
        whole = whole_of(result, self._feed.before)
        try:
            whole.write_csv(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error}). Choose another file.") from error
        self._say(f"{len(whole.sites)} sites were written to {path}.")

    def ask_and_export(self) -> None:
        """Ask for a file, and export."""
        kind = "CSV files (*.csv)"
        path, _, _ = self._window.get_save_file_path("Export the sites of the frame", "", kind, kind)
        if path:
            self.export(pathlib.Path(path).with_suffix(".csv"))

    def snapshot(self) -> None:
        """Keep the newest whole image and its flags in the library."""
        result = self._feed.result
        if result is None:
            raise InputError("There is nothing to keep. Start judging, and wait for the first frame.")
        whole = whole_of(result, self._feed.before)
        frame = self._feed.frame_of(whole)
        if frame is None:
            raise InputError("The frame on the screen is no longer held. Try again with the next one.")
        item = snapshot(self._window.document_model, frame, whole, self._feed.rule)
        self._show(item)
        self._say(f"'{item.title}' is in the library.")

    def _frame(self, row: FlagRow) -> TappedFrame:
        frame = self._feed.frame_of(row.flag.result)
        if frame is None:
            raise InputError("The frame of this flag is no longer held. Choose a flag of a newer one.")
        return frame

    def _scan(self) -> Any:
        if self._feed.service is None:
            raise InputError("Nothing is being judged. Press Start first.")
        return self._feed.service.scan_hardware_source

    def _display_items(self) -> list[Any]:
        origin, model = self._feed.origin, self._window.document_model
        if origin is None:
            return []
        reference = model.get_data_item_channel_reference(origin.hardware_source_id, origin.data_channel_id)
        item = reference.data_item
        return list(model.get_display_items_for_data_item(item)) if item is not None else []

    def _keep(self, frames: list[Any], species: str) -> None:
        for xdata in frames:
            item = DataItem.new_data_item(xdata)
            channel = xdata.metadata.get("hardware_source", {}).get("channel_name", "Subscan")
            item.title = f"{channel} around {species}"
            self._window.document_model.append_data_item(item)
            self._show(item)
        self._say(f"The subscan around {species} is in the library.")

    def _show(self, data_item: Any) -> None:
        display_item = self._window.document_model.get_display_item_for_data_item(data_item)
        self._window.show_display_item(display_item, request_focus=False)

    def _later(self, function: Callable[[], None]) -> None:
        """On the window's thread, soon; from any thread."""

        def run() -> None:
            if not self._closed:
                self.guarded(function)

        loop = self._window.event_loop
        if self._closed or loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(run)
        except RuntimeError:  # it closed just now
            logger.debug("The window closed before the list could be told")
