"""Which results may be shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nionswift_plugin.stemctx.service.ledger import FrameLedger
from nionswift_plugin.stemctx.service.status import FlagAge
from nionswift_plugin.stemctx.service.tapped_frame import TappedFrame
from stemctx_core.context import ImagingContext, Missing
from stemctx_core.results import FrameIdentity, FrameResult, Refusal, SiteTable

NOWHERE = ImagingContext("WSe2", (), *[Missing("not asked for")] * 5)


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


def about(identity: FrameIdentity, refusal: Refusal | None = None) -> FrameResult:
    return FrameResult(identity, NOWHERE, (), SiteTable.empty(), refusal=refusal)


def test_a_result_of_the_frame_before_is_shown_while_the_next_is_scanned() -> None:
    ledger = FrameLedger()
    first = send(ledger, frame("1"))
    ledger.seen(frame("2", rows=2))
    assert ledger.accept(about(first))
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
        assert not ledger.accept(about(first)), change
        assert ledger.age() is FlagAge.GONE


def test_flags_are_gone_as_soon_as_the_first_rows_of_another_field_arrive() -> None:
    ledger = FrameLedger()
    assert ledger.accept(about(send(ledger, frame("1"))))
    ledger.seen(frame("2", fov_nm=4.0, rows=1))
    assert ledger.age() is FlagAge.GONE


def test_results_never_go_back_in_time() -> None:
    ledger = FrameLedger()
    first, second = send(ledger, frame("1")), send(ledger, frame("2"))
    assert ledger.accept(about(second))
    assert not ledger.accept(about(first))
    assert not ledger.accept(about(second))


def test_parts_of_one_frame_are_told_apart_and_the_whole_comes_last() -> None:
    ledger = FrameLedger()
    part, whole = send(ledger, frame("1", rows=2)), send(ledger, frame("1"))
    assert ledger.accept(about(part))
    assert ledger.accept(about(whole))
    assert ledger.origin(part) != ledger.origin(whole)


def test_a_result_that_nobody_asked_for_is_not_shown() -> None:
    ledger = FrameLedger()
    other = send(FrameLedger(), frame("1"))
    ledger.seen(frame("1"))
    assert not ledger.accept(about(other))


def test_old_frames_are_forgotten() -> None:
    ledger = FrameLedger()
    first = send(ledger, frame("1"))
    for n in range(2, 80):
        send(ledger, frame(str(n)))
    assert ledger.origin(first) is None


def test_rows_are_shown_with_what_the_whole_frame_before_them_showed() -> None:
    ledger = FrameLedger()
    whole = about(send(ledger, frame("1")))
    assert ledger.accept(whole)
    rows = send(ledger, frame("2", rows=2))
    assert ledger.before(rows) is whole
    assert ledger.accept(about(rows))
    assert ledger.before(rows) is whole
    elsewhere = send(ledger, frame("3", fov_nm=4.0, rows=2))
    assert ledger.before(elsewhere) is None


def test_what_is_two_frames_older_than_the_rows_is_not_shown_with_them() -> None:
    ledger = FrameLedger()
    assert ledger.accept(about(send(ledger, frame("1"))))
    for n in ("2", "3"):
        send(ledger, frame(n))
    assert ledger.before(send(ledger, frame("4", rows=2))) is None


def test_a_refusal_of_the_first_rows_says_nothing() -> None:
    ledger = FrameLedger()
    few, more = send(ledger, frame("1", rows=1)), send(ledger, frame("1", rows=2))
    no_lattice = Refusal("no_lattice", "no lattice", "")
    assert not ledger.accept(about(few, no_lattice))
    assert ledger.accept(about(more, no_lattice))


def test_the_frames_on_the_screen_are_held_and_no_others() -> None:
    ledger = FrameLedger()
    first, rows, second = frame("1"), frame("2", rows=2), frame("2")
    shown = [send(ledger, f) for f in (first, rows)]
    assert [ledger.accept(about(identity)) for identity in shown] == [True, True]
    assert ledger.frame(shown[0]) is first
    assert ledger.frame(shown[1]) is rows
    last = send(ledger, second)
    assert ledger.frame(last) is None, "it has no result yet"
    assert ledger.accept(about(last))
    assert [ledger.frame(identity) for identity in (*shown, last)] == [None, None, second]


def test_a_server_that_does_not_answer_does_not_fill_the_memory() -> None:
    ledger = FrameLedger()
    for n in range(6):
        send(ledger, replace(frame(str(n)), data=np.empty((4096, 2048), np.float32)))  # 32 MiB
    assert sum(f.data.nbytes for f in ledger._frames.values()) == 4 * 32 * 2**20


def test_rows_of_one_frame_count_once() -> None:
    ledger = FrameLedger()
    buffer = np.empty((4096, 4096), np.float32)  # 64 MiB
    for n in range(1, 5):
        send(ledger, replace(frame("1", rows=n), data=buffer[: 1024 * n]))
    assert len(ledger._frames) == 4
