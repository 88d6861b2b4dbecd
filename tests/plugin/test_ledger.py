"""Which results may be shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from nionswift_plugin.stemctx.ledger import FrameLedger
from nionswift_plugin.stemctx.status import FlagAge
from nionswift_plugin.stemctx.tap import TappedFrame


def frame(scan_id: str, fov_nm: float = 8.0, rows: int = 4, **scan: Any) -> TappedFrame:
    return TappedFrame(
        data=np.zeros((rows, 4), np.float32),
        valid_rows=rows,
        shape=(4, 4),
        complete=rows == 4,
        scan_id=scan_id,
        frame_index=0,
        channel_name="HAADF",
        data_channel_id="a",
        metadata={"scan": {"fov_nm": fov_nm, **scan}},
        pixel_size_nm=(2.0, 2.0),
        received_ns=0,
    )


def send(ledger: FrameLedger, tapped: TappedFrame) -> Any:
    ledger.seen(tapped)
    return ledger.sent(tapped, "scan")


def test_a_result_of_the_frame_before_is_shown_while_the_next_is_scanned() -> None:
    ledger = FrameLedger()
    first = send(ledger, frame("1"))
    ledger.seen(frame("2", rows=2))
    assert ledger.accept(first)
    assert ledger.age() is FlagAge.FRESH
    send(ledger, frame("2"))
    assert ledger.age() is FlagAge.FRESH
    send(ledger, frame("3"))
    assert ledger.age() is FlagAge.STALE


def test_a_result_of_another_field_is_never_shown() -> None:
    for change in (
        {"fov_nm": 4.0},
        {"rotation": 0.1},
        {"center_x_nm": 1.0},
        {"subscan_fractional_size": [0.5, 0.5]},
    ):
        ledger = FrameLedger()
        first = send(ledger, frame("1"))
        ledger.seen(frame("2", rows=1, **change))
        assert not ledger.accept(first), change
        assert ledger.age() is FlagAge.GONE


def test_flags_are_gone_as_soon_as_the_first_rows_of_another_field_arrive() -> None:
    ledger = FrameLedger()
    assert ledger.accept(send(ledger, frame("1")))
    ledger.seen(frame("2", fov_nm=4.0, rows=1))
    assert ledger.age() is FlagAge.GONE


def test_results_never_go_back_in_time() -> None:
    ledger = FrameLedger()
    first, second = send(ledger, frame("1")), send(ledger, frame("2"))
    assert ledger.accept(second)
    assert not ledger.accept(first)
    assert not ledger.accept(second)


def test_parts_of_one_frame_are_told_apart_and_the_whole_comes_last() -> None:
    ledger = FrameLedger()
    part, whole = send(ledger, frame("1", rows=2)), send(ledger, frame("1"))
    assert ledger.accept(part)
    assert ledger.accept(whole)
    assert ledger.origin(part) != ledger.origin(whole)


def test_a_result_that_nobody_asked_for_is_not_shown() -> None:
    ledger = FrameLedger()
    other = send(FrameLedger(), frame("1"))
    ledger.seen(frame("1"))
    assert not ledger.accept(other)


def test_old_frames_are_forgotten() -> None:
    ledger = FrameLedger()
    first = send(ledger, frame("1"))
    for n in range(2, 80):
        send(ledger, frame(str(n)))
    assert ledger.origin(first) is None
