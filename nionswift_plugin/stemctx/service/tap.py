"""The tap on the scan: copies a frame on the acquisition thread and hands it to a thread of its own.

The acquisition thread must never wait for us, and an exception in a listener would keep the frame from every
listener behind it. So the callback copies the rows that are new, puts them in a slot that holds one frame, and
returns; whatever it meets, it does not raise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nionswift_plugin.stemctx.context.frame_values import calibrated_nm
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from nionswift_plugin.stemctx.threads.throttle import Throttle

logger = logging.getLogger(__name__)

_JOIN_S = 5.0


class _Rows:
    """Copy of one frame, to which rows are added as they arrive; those that are there do not change any more."""

    def __init__(self, scan_id: str, data: NDArray[Any]) -> None:
        self.scan_id, self.count = scan_id, 0
        self._copy = np.empty(data.shape, data.dtype)

    def add(self, data: NDArray[Any], valid_rows: int) -> NDArray[Any]:
        """Copy the rows that are new, and return all of them."""
        self._copy[self.count : valid_rows] = data[self.count : valid_rows]
        self.count = valid_rows
        return self._copy[:valid_rows]

    def goes_on(self, data: NDArray[Any]) -> bool:
        """Whether what is copied is still what stands in the buffer of the scan, by some of the rows."""
        if data.shape != self._copy.shape or data.dtype != self._copy.dtype or not self.count:
            return False
        some = [0, self.count // 2, self.count - 1]
        return np.array_equal(self._copy[some], data[some])


@dataclass(frozen=True)
class _Arrival:
    """What the callback leaves in the slot; the rest is read from it on the worker thread."""

    rows: NDArray[Any]
    xdata: Any
    complete: bool
    data_channel_id: str
    received_ns: int


class FrameTap:
    """Listens to one channel of a scan device and calls `on_frame` on a thread of its own.

    Parameters
    ----------
    scan_hardware_source
        Nion's scan hardware source.
    channel_index
        Which channel; its subscans come too.
    on_frame
        Called with every frame that was not replaced by a newer one while the previous call ran. What it raises
        is logged and goes no further.

    Attributes
    ----------
    replaced, errors
        Whole frames that a newer one replaced before they were passed on; calls that failed.
    callback_ns
        How long the newest call on the acquisition thread took, and what of it was computing (ns).
    """

    def __init__(
        self, scan_hardware_source: Any, channel_index: int, on_frame: Callable[[TappedFrame], None]
    ) -> None:
        self._channel_id = scan_hardware_source.get_channel_id(channel_index)
        self._scan, self._channel_index = scan_hardware_source, channel_index
        self._on_frame = on_frame
        self._condition = threading.Condition()
        self._slot: _Arrival | None = None
        self._rows: _Rows | None = None
        self._closed = threading.Event()
        self._log = Throttle(10.0)
        self.replaced = 0
        self.errors = 0
        self.callback_ns = 0, 0
        self._thread = threading.Thread(target=self._work, name="stemctx-tap", daemon=True)
        self._thread.start()
        # A listener lives as long as it is referenced: dropping it is how one stops listening.
        self._listeners: list[Any] = [
            scan_hardware_source.data_channel_updated_event.listen(self._updated),
            scan_hardware_source.abort_event.listen(self._aborted),
        ]

    def close(self) -> None:
        """Stop listening and wait for the thread to end. May be called twice."""
        self._listeners.clear()
        with self._condition:
            self._closed.set()
            self._slot = None
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _updated(self, args: Any, xdata: Any) -> None:
        """Take a frame, on the acquisition thread."""
        start, computed = time.perf_counter_ns(), time.thread_time_ns()
        try:
            if self._closed.is_set() or args.channel_id != self._channel_id:
                return
            data = xdata.data
            # Rows that arrive after a stop was asked for come as "marked".
            if data is None or data.ndim != 2 or args.state not in ("complete", "partial", "marked"):
                return
            complete = args.state == "complete"
            rows = self._copied(data, None if complete else xdata.metadata)
            arrival = _Arrival(
                rows, xdata, complete, args.data_channel_id or self._channel_id, time.monotonic_ns()
            )
            with self._condition:
                if self._closed.is_set():
                    return
                if self._slot is not None and self._slot.complete:
                    if not complete:
                        return  # the first rows of the next frame are worth less than a whole one
                    self.replaced += 1
                self._slot = arrival
                self._condition.notify()
        except Exception:
            self._failed("A frame could not be taken from the scan")
        finally:
            self.callback_ns = time.perf_counter_ns() - start, time.thread_time_ns() - computed

    def _copied(self, data: NDArray[Any], metadata: Mapping[str, Any] | None) -> NDArray[Any]:
        """Copy of the rows of a partial frame, or of a whole one where no metadata are given.

        The array is the channel's own buffer, which the next frame overwrites in place. Metadata are copied deeply
        whenever they are asked for, so a whole frame is known by its rows.
        """
        rows, valid_rows = self._rows, data.shape[0]
        if metadata is None:
            self._rows = None
            if rows is None or not rows.goes_on(data):
                rows = _Rows("", data)
            return rows.add(data, valid_rows)
        valid_rows = _valid_rows(metadata, valid_rows)
        scan_id = str(metadata.get("scan", {}).get("scan_id", ""))
        same = rows is not None and scan_id and rows.scan_id == scan_id and rows.count <= valid_rows
        if rows is None or not (same and rows.goes_on(data)):
            rows = self._rows = _Rows(scan_id, data)
        return rows.add(data, valid_rows)

    def _aborted(self) -> None:
        """Forget rows of a frame that will never be whole, on whichever thread aborted."""
        try:
            self._rows = None
            with self._condition:
                if self._slot is not None and not self._slot.complete:
                    self._slot = None
        except Exception:
            self._failed("An abort could not be noted")

    def _work(self) -> None:
        while True:
            with self._condition:
                while self._slot is None and not self._closed.is_set():
                    self._condition.wait()
                if self._closed.is_set():
                    return
                arrival, self._slot = self._slot, None
            try:
                assert arrival is not None
                self._on_frame(self._frame(arrival))
            except Exception:
                self._failed("A frame could not be passed on")

    def _frame(self, arrival: _Arrival) -> TappedFrame:
        metadata = arrival.xdata.metadata
        scan = metadata.get("scan", {})
        detector = metadata.get("hardware_source", {})
        height, width = arrival.xdata.data_shape
        return TappedFrame(
            data=arrival.rows,
            valid_rows=arrival.rows.shape[0],
            shape=(int(height), int(width)),
            complete=arrival.complete,
            scan_id=str(scan.get("scan_id", "")),
            frame_index=int(detector.get("frame_index") or 0),
            # Asked anew, because channels are renamed while they are scanned; the frame has the name of the start.
            channel_name=str(self._scan.get_channel_name(self._channel_index)),
            data_channel_id=arrival.data_channel_id,
            metadata=metadata,
            pixel_size_nm=calibrated_nm(arrival.xdata.dimensional_calibrations),
            received_ns=arrival.received_ns,
            calibrations=tuple(arrival.xdata.dimensional_calibrations),
        )

    def _failed(self, what: str) -> None:
        self.errors += 1
        if self._log.ready():
            logger.exception("%s; the scan goes on. (%d such errors so far)", what, self.errors)


def _valid_rows(metadata: Mapping[str, Any], height: int) -> int:
    for group in ("scan", "hardware_source"):
        rows = metadata.get(group, {}).get("valid_rows")
        if rows is not None:
            return max(0, min(int(rows), height))
    return 0
