"""The layout in `docs/recording.md` is that of the file."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import msgspec

from realtime.recording.recorder import FrameRecorder
from realtime.recording.recordings import FrameHeader
from tests.realtime.recording.test_recorder import answer

PAGE = (Path(__file__).parents[3] / "docs" / "recording.md").read_text()


def test_every_path_of_a_file_stands_on_the_page_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    with FrameRecorder(path) as recorder:
        recorder.record(answer())
    found: set[str] = set()
    with h5py.File(path) as file:
        file.visititems(
            lambda name, thing: (
                found.add("/" + name.replace("00000001", "N")) if isinstance(thing, h5py.Dataset) else None
            )
        )
        assert (file.attrs["format"], file.attrs["version"]) == (b"stemctx-recording", 1)
        assert file["frames/00000001/image"].attrs["axes"] == b"y, x"
    table = PAGE.split("## Layout")[1].split("A frame without")[0]
    told = set(re.findall(r"`(/(?:session|frames/N/[\w/]+))`", table))
    told |= {"/frames/N/result/x_px"} if "`x_px`" in table else set()
    assert told == found


def test_every_key_of_a_header_stands_on_the_page() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", PAGE.split("key of `/frames/N/header`")[1], re.MULTILINE)
    assert set(keys) == {field.name for field in msgspec.structs.fields(FrameHeader)}
