"""Follows the frames of the simulated scan, and knows what was true in each; on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from nionswift_plugin.stemctx.threads.throttle import Throttle
from nionswift_plugin.stemctx_simulator.truth_graphic import Square, squares
from sim.calibration import FlagCalibration, calibration
from sim.sample import SampleHolder
from sim.scoring import FrameScore, score
from sim.shot import Shot, shot
from stemctx_core.errors import StemctxError
from stemctx_core.results import FrameResult

logger = logging.getLogger(__name__)

_KEPT_SHOTS: Final = 64
_WAITING_RESULTS: Final = 8
_CLOSE_S: Final = 10.0


@dataclass(frozen=True)
class LiveScore:
    """Flags against the truth, of all frames since the last reset."""

    frames: int = 0
    score: FrameScore = FrameScore()
    calibration: FlagCalibration = FlagCalibration()


@dataclass(frozen=True)
class Sight:
    """What is to be shown of a frame: its true defects, and what the beam has done in the middle of its field."""

    data_channel_id: str
    drawn: tuple[Square, ...]
    dose_e_per_angstrom2: float
    lost_atoms: int


class Witness:
    """Listens to a scan, tells what is true in its frames, and scores results.

    Parameters
    ----------
    scan, sample
        Nion's scan hardware source, and what it scans.
    on_sight, on_score
        Called on the thread of the witness; they must be quick.

    Attributes
    ----------
    draws
        Whether sights tell the true defects, which takes its time; may be changed at any moment.
    """

    def __init__(
        self,
        scan: Any,
        sample: SampleHolder,
        on_sight: Callable[[Sight], None],
        on_score: Callable[[LiveScore], None],
    ) -> None:
        self.draws = False
        self._sample = sample
        self._on_sight, self._on_score = on_sight, on_score
        self._changed = threading.Condition()
        self._shots: OrderedDict[str, Shot] = OrderedDict()
        self._frames: dict[str, Shot] = {}
        self._results: deque[FrameResult] = deque(maxlen=_WAITING_RESULTS)
        self._errands: deque[Callable[[], None]] = deque()
        #: Scan of the last frame of each channel, and of the last result that was scored.
        self._last: dict[str, str] = {}
        self._scored = ""
        self._score = LiveScore()
        self._closed = False
        self._log = Throttle(10.0)
        self._thread = threading.Thread(target=self._run, name="stemctx-witness", daemon=True)
        self._thread.start()
        self._listener: Any = scan.data_channel_updated_event.listen(self._updated)

    def judge(self, result: FrameResult) -> None:
        """Score a result; at once back."""
        with self._changed:
            self._results.append(result)
            self._changed.notify()

    def run(self, errand: Callable[[], None]) -> None:
        """Run what takes its time, such as opening a file."""
        with self._changed:
            self._errands.append(errand)
            self._changed.notify()

    def reset(self) -> None:
        """Begin the score anew."""
        with self._changed:
            self._score = LiveScore()
            self._results.clear()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._listener = None  # not `close`, after which Nion prints what still comes
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)

    def _updated(self, args: Any, xdata: Any) -> None:
        """From the acquisition thread, for every part of a frame: note a frame when its first rows come, and its end."""
        try:
            scan_id = str(xdata.metadata["scan"]["scan_id"])
            channel = str(args.data_channel_id)
            begins = self._last.get(channel) != scan_id
            if not begins and args.state != "complete":
                return
            taken = shot(xdata.metadata)
            with self._changed:
                self._shots[scan_id] = taken
                while len(self._shots) > _KEPT_SHOTS:
                    self._shots.popitem(last=False)
                self._last[channel] = scan_id
                if begins:
                    self._frames[channel] = taken
                    self._changed.notify()
        except Exception:
            logger.debug("A frame of the simulated scan was not understood", exc_info=True)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._frames or self._results or self._errands):
                    self._changed.wait()
                if self._closed:
                    return
                frames, self._frames = self._frames, {}
                results, errands = list(self._results), list(self._errands)
                self._results.clear()
                self._errands.clear()
            for errand in errands:
                self._safely(errand)
            for channel, taken in frames.items():
                self._safely(partial(self._see, channel, taken))
            for result in results:
                self._safely(partial(self._judge, result))

    def _see(self, channel: str, taken: Shot) -> None:
        """Say what is true in a frame, as far as that is known."""
        drawn: tuple[Square, ...] = ()
        dose = 0.0
        if taken.geometry is not None and not taken.replayed:
            if self.draws:
                truth = self._sample.ground_truth(taken)
                drawn = squares(truth, self._sample.generator.specimen.host.name)
            history = self._sample.history
            dose = float(history.dose_e_per_angstrom2(np.array([taken.geometry.centre_nm]))[0])
        self._on_sight(Sight(channel, drawn, dose, self._sample.history.lost_atoms))

    def _judge(self, result: FrameResult) -> None:
        """Score a whole frame, once."""
        frame = result.frame
        taken = self._shots.get(frame.scan_id)
        whole = frame.valid_rows == frame.shape[0]
        if taken is None or taken.error or not whole or result.refusal or frame.scan_id == self._scored:
            return
        truth = self._sample.ground_truth(taken)
        with self._changed:
            before, self._scored = self._score, frame.scan_id
            self._score = LiveScore(
                before.frames + 1,
                before.score + score(result, truth),
                before.calibration + calibration(result, truth),
            )
            now = self._score
        self._on_score(now)

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except StemctxError as error:  # such as a frame of a sample that was changed since
            logger.debug("%s", error)
        except Exception:
            if self._log.ready():
                logger.exception("The truth of a frame could not be told")
