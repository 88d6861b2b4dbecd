"""Joins the simulated microscope to Nion Swift: panel, truth on the live image, live score."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nion.swift import Workspace

from nionswift_plugin.stemctx.loading import Loaded
from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx_simulator import exchange
from nionswift_plugin.stemctx_simulator.form import CONTROLS, Control, Form
from nionswift_plugin.stemctx_simulator.panel import PANEL_ID, PANEL_NAME, SpecimenPanel
from nionswift_plugin.stemctx_simulator.truth_graphic import TruthOverlay
from nionswift_plugin.stemctx_simulator.witness import LiveScore, Sight, Witness
from sim.crystal import IMPERFECTIONS
from sim.instrument import CHANNELS
from sim.replay import Replay, open_replay
from stemctx_core.context import ImagingContext, Known
from stemctx_core.errors import InputError, StemctxError
from stemctx_core.look import formats

logger = logging.getLogger(__name__)

#: The plug-in that flags, where it is loaded.
_FLAGS: Final = "nionswift_plugin.stemctx.plug_in"


class SimulatorPlugIn:
    """The plug-in as long as it is loaded; its methods belong to the window's thread, except where said."""

    def __init__(self, api: Any) -> None:
        self._application = api.application._application
        self.ui = UiThread()
        self.form = Form()
        self.overlay = TruthOverlay()
        self.installed: exchange.Installed | None = None
        self.witness: Witness | None = None
        self._listeners: list[Any] = []
        self._feed: Any = None
        self._feed_listener: Any = None
        self._filling = False
        Workspace.WorkspaceManager().register_panel(
            SpecimenPanel,
            PANEL_ID,
            PANEL_NAME,
            ["left", "right"],
            "left",
            {"keeper": self, "form": self.form, "min-width": 320, "height": 420},
        )
        self._application.register_menu_handler(self.ui.add_window)

    def attach(self) -> None:
        """Put the instrument in, where nothing stands against it, and follow it."""
        exchange.install()
        self.installed = ours = exchange.installed()
        if ours is None:
            put(self.form.message, "The simulated microscope is not in: another scan device is there.")
            return
        self.witness = Witness(ours.scan, ours.instrument.sample, self._sighted, self._scored)
        self._fill()
        form = self.form
        edits: list[tuple[Any, Callable[[str], None]]] = [
            (form.imperfections_index, self._imaging_edited),
            (form.truth, self._truth_edited),
            *((form.controls[c.name], partial(self._control_edited, c)) for c in CONTROLS),
            *((model, self._changes_edited) for model in form.changes.values()),
        ]
        self._listeners = [model.property_changed_event.listen(edited) for model, edited in edits]
        self._listeners.append(ours.instrument.property_changed_event.listen(self._control_changed))

    def close(self) -> None:
        """Leave nothing behind: no listener, thread, graphic or instrument."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._unfollow()
        if self.witness is not None:
            self.witness.close()
        self.overlay.clear()
        self._application.unregister_menu_handler(self.ui.add_window)
        Workspace.WorkspaceManager().unregister_panel(PANEL_ID)
        self.ui.close()
        exchange.withdraw()

    def put_in_crystal(self) -> None:
        """Scan the crystal that the fields describe."""
        self._safely(self._put_in_crystal)

    def put_in_file(self) -> None:
        """Scan the file that the fields name; it is opened by the witness, because that takes its time."""
        self._safely(self._put_in_file)

    def choose_file(self, window: Any) -> None:
        """Let the user choose a file, and scan it."""
        kinds = "Recordings and micrographs (*.h5 *.hdf5 *.tif *.tiff *.npy)"
        path, _, _ = window.ui.get_file_path_dialog("Replay", "", kinds)
        if path:
            put(self.form.file, path)
            self.put_in_file()

    def renew(self) -> None:
        """Scan the same crystal as it was before the beam came."""
        if self.installed is not None:
            self.installed.instrument.sample.renew()
            self._sample_changed()

    def reset_score(self) -> None:
        """Begin the score anew."""
        if self.witness is not None:
            self.witness.reset()
        self.form.show_score(LiveScore())

    def window_opened(self, window: Any) -> None:
        """A window has the panel from now on."""
        self.ui.add_window(window)

    def window_closed(self, window: Any) -> None:
        """A window is about to close; with the last one the truth goes, so that no graphic is saved."""
        self.ui.remove_window(window)
        if not self.ui.windows:
            self.overlay.clear()

    def _put_in_crystal(self) -> None:
        if self.installed is not None:
            sample = self.installed.instrument.sample
            sample.put_in(self.form.crystal(sample.generator))
            self._sample_changed()

    def _put_in_file(self) -> None:
        path, pixel_angstrom = self.form.replayed()
        if self.witness is not None:
            put(self.form.message, f"Opening {path.name}")
            self.witness.run(lambda: self._open(lambda: open_replay(path, pixel_angstrom)))

    def _open(self, opened: Callable[[], Replay]) -> None:
        """On the thread of the witness: open a file and put it in, under the conditions of its recording."""
        ours = self.installed
        if ours is None:
            return
        try:
            replay = opened()
        except StemctxError as error:
            said = str(error)
            self.ui.call("opened", lambda: put(self.form.message, said))
            return
        ours.instrument.sample.put_in(replay)
        if replay.context is not None:
            _stand_as(ours.instrument, replay.context)
        self.ui.call("opened", self._sample_changed)

    def _sample_changed(self) -> None:
        put(self.form.message, "")
        self.overlay.clear()
        self.reset_score()
        self._fill()

    def _fill(self) -> None:
        """Show the sample and the column as they are."""
        if self.installed is not None:
            self._filling = True
            try:
                self.form.show_sample(self.installed.instrument)
                self.form.show_column(self.installed.instrument)
            finally:
                self._filling = False

    def _control_changed(self, name: str) -> None:
        """From any thread: a control of the instrument was changed."""
        self.ui.call("column", self._fill_column)

    def _fill_column(self) -> None:
        if self.installed is not None:
            self._filling = True
            try:
                self.form.show_column(self.installed.instrument)
            finally:
                self._filling = False

    def _control_edited(self, control: Control, name: str) -> None:
        if self.installed is not None and not self._filling:
            instrument = self.installed.instrument
            self._safely(lambda: self.form.use_control(instrument, control))

    def _changes_edited(self, name: str) -> None:
        if self.installed is not None and not self._filling:
            instrument = self.installed.instrument
            self._safely(lambda: self.form.use_changes(instrument))

    def _imaging_edited(self, name: str) -> None:
        if self.installed is not None and not self._filling:
            self.installed.instrument.sample.image_with(IMPERFECTIONS[self.form.imperfections_index.value or 0])

    def _truth_edited(self, name: str) -> None:
        if self.witness is not None:
            self.witness.draws = bool(self.form.truth.value)
        if not self.form.truth.value:
            self.overlay.clear()

    def _safely(self, do: Callable[[], None]) -> None:
        """Do what the user asked for, or say why it cannot be and show what stands."""
        try:
            do()
        except InputError as error:
            put(self.form.message, str(error))
            self._fill_column()
        else:
            if not self.form.message.value.startswith("Opening"):
                put(self.form.message, "")

    def _sighted(self, sight: Sight) -> None:
        """From the thread of the witness: a frame has begun."""
        self.ui.call(f"sight {sight.data_channel_id}", lambda: self._show_sight(sight))

    def _show_sight(self, sight: Sight) -> None:
        self._follow()
        put(
            self.form.beam,
            f"{formats.dose(sight.dose_e_per_angstrom2)} in the middle so far, {sight.lost_atoms} atoms lost",
        )
        if self.form.truth.value and self.installed is not None:
            scan = self.installed.scan
            self.overlay.paint(
                self.ui.document_models, scan.hardware_source_id, sight.data_channel_id, sight.drawn
            )

    def _scored(self, scored: LiveScore) -> None:
        """From the thread of the witness: a result was scored."""
        self.ui.call("score", lambda: self.form.show_score(scored))

    def _follow(self) -> None:
        """Listen to the results of the plug-in that flags, where it is loaded."""
        module = sys.modules.get(_FLAGS)
        flagging = None if module is None else module.current()
        feed = None if flagging is None else flagging.feed
        if feed is not self._feed:
            self._unfollow()
            self._feed = feed
            if feed is not None:
                self._feed_listener = feed.result_changed.listen(self._result_changed)

    def _unfollow(self) -> None:
        if self._feed_listener is not None:
            self._feed_listener.close()
        self._feed = self._feed_listener = None

    def _result_changed(self) -> None:
        result = self._feed.result if self._feed is not None else None
        if result is not None and self.witness is not None:
            self.witness.judge(result)


def _stand_as(instrument: Any, context: ImagingContext) -> None:
    """Set the controls to the conditions that a file was recorded under, as far as it knows them."""
    values = [("EHT", context.high_tension_kv, 1e3), ("ConvergenceAngle", context.convergence_semi_angle_mrad, 1e-3)]  # fmt: skip
    for channel in (context.channel,) if context.channel in CHANNELS else CHANNELS:
        values += [
            (f"{channel}_Inner_ha", context.inner_mrad, 1e-3),
            (f"{channel}_Outer_ha", context.outer_mrad, 1e-3),
        ]
    for name, quantity, factor in values:
        if isinstance(quantity, Known):
            instrument.SetVal(name, quantity.value * factor)


LOADED: Final = Loaded(SimulatorPlugIn)
#: The plug-in that is loaded, for scripts run inside Nion Swift; None where it is not.
current: Final = LOADED.current
