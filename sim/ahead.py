"""Frames rendered by a thread of their own: the one that is scanned from the top down, and then the next one ahead.

The acquisition thread hands a job over and copies rows as the beam passes them; it waits for no more than the rows
that it is about to hand out. What the next frame will be is foretold from what stands now; where it comes otherwise,
what was rendered ahead is dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.crystal import Crystal
from sim.geometry import FrameGeometry
from sim.replay import Replay
from stemctx_core.errors import StemctxError
from stemctx_core.simulation.optics import Optics

_log = logging.getLogger(__name__)

_CLOSE_S: Final = 10.0
_REPLAY_BLOCK: Final = 128


@dataclass(frozen=True)
class FrameJob:
    """What a frame is rendered from; equal jobs give equal frames.

    Attributes
    ----------
    frame_number
        Counts frames since the device was made.
    geometry
        Where the frame lies on the specimen.
    channels
        Number and optics of each channel that is read.
    dose_e_per_angstrom2
        0 with the beam off.
    sample
        A crystal, or a file in its place.
    """

    frame_number: int
    geometry: FrameGeometry
    channels: tuple[tuple[int, Optics], ...]
    dose_e_per_angstrom2: float
    sample: Crystal | Replay

    def blocks(self) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """First row and pixels of each channel, block by block from the top."""
        if isinstance(self.sample, Crystal):
            yield from self.sample.blocks(
                self.geometry, self.frame_number, self.channels, self.dose_e_per_angstrom2
            )
            return
        image = self.sample.image(self.frame_number)
        height = self.geometry.shape[0]
        for first in range(0, height, _REPLAY_BLOCK):
            rows = image.seen(self.geometry, first, min(height, first + _REPLAY_BLOCK))
            yield first, [rows if self.dose_e_per_angstrom2 else np.zeros_like(rows) for _ in self.channels]


class Picture:
    """A frame while it is rendered: rows fill from the top."""

    def __init__(self, job: FrameJob) -> None:
        self.job = job
        self._rows = {number: np.zeros(job.geometry.shape, np.float32) for number, _ in job.channels}
        self._changed = threading.Condition()
        self._done = 0
        self._over = False
        self._cancelled = False
        self._error = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes: finished, failed or cancelled."""
        return self._over

    @property
    def error(self) -> str:
        """Why it is dark, or empty."""
        return self._error

    def pixels(self, channel: int) -> NDArray[np.float32]:
        """(height, width) of a channel; rows that are not there yet are 0, and so is a channel that was not asked for."""
        pixels = self._rows.get(channel)
        return np.zeros(self.job.geometry.shape, np.float32) if pixels is None else pixels

    def wait(self, rows: int) -> None:
        """Wait until so many rows are there, or nothing more comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._done >= rows or self._over)

    def cancel(self) -> None:
        """Render it no further."""
        with self._changed:
            self._cancelled = self._over = True
            self._changed.notify_all()

    def render(self) -> None:
        """Fill it; what goes wrong becomes `error`."""
        error = ""
        try:
            for first, parts in self.job.blocks():
                if self._cancelled:
                    break
                for (number, _), part in zip(self.job.channels, parts, strict=True):
                    self._rows[number][first : first + len(part)] = part
                with self._changed:
                    self._done = first + len(parts[0]) if parts else self._done
                    self._changed.notify_all()
        except StemctxError as failed:
            error = str(failed)
        except Exception as failed:  # the scan goes on whatever is wrong with a frame
            _log.exception("A simulated frame could not be rendered")
            error = f"it could not be rendered: {failed}"
        with self._changed:
            self._error, self._over = error, True
            self._changed.notify_all()


class RenderAhead:
    """The thread that renders, until `close`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._current: Picture | None = None
        self._ahead: Picture | None = None
        self._foretell: Callable[[], FrameJob | None] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="stemctx-render", daemon=True)
        self._thread.start()

    def begin(self, job: FrameJob, foretell: Callable[[], FrameJob | None] | None = None) -> Picture:
        """A frame begins: take what was rendered ahead where it is this one, or else render it now.

        Parameters
        ----------
        foretell
            Gives the job of the next frame; called on the rendering thread when this frame is rendered.
        """
        with self._changed:
            before, ahead = self._current, self._ahead
            self._ahead = None
            if ahead is not None and ahead.job == job and not self._closed:
                picture = ahead
            else:
                picture = Picture(job)
                if ahead is not None:
                    ahead.cancel()
            if before is not None and not before.is_over:
                before.cancel()
            self._current, self._foretell = picture, foretell
            if self._closed:
                picture.cancel()
            self._changed.notify_all()
        return picture

    def close(self) -> None:
        """End the thread; safe to call twice, and frames that begin afterwards stay dark."""
        with self._changed:
            self._closed = True
            for picture in (self._current, self._ahead):
                if picture is not None:
                    picture.cancel()
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (work := self._next_work()) is not None:
            work()

    def _next_work(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                if self._current is not None and not self._current.is_over:
                    return self._current.render
                if self._foretell is not None:
                    foretell, self._foretell = self._foretell, None
                    return lambda: self._look_ahead(foretell)
                self._changed.wait()
        return None

    def _look_ahead(self, foretell: Callable[[], FrameJob | None]) -> None:
        current = self._current
        try:
            job = foretell()
        except Exception:  # a frame ahead is a convenience; the frame itself will say what is wrong
            _log.debug("The next frame could not be foretold", exc_info=True)
            return
        if job is None:
            return
        picture = Picture(job)
        with self._changed:
            if self._closed or self._current is not current:
                return
            self._ahead = picture
        picture.render()
