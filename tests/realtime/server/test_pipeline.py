"""What one client's frames go through: rows while a frame is scanned, frames of one field, changes, memory."""

from __future__ import annotations

import gc

import numba
import numpy as np
import psutil
import pytest

from realtime.server.launch import field_pipeline
from realtime.server.pipeline import FramePipeline
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.results import FrameIdentity
from tests.core.fields import Field, context_of
from tests.realtime.support import KnownAnswers, context


@pytest.fixture(scope="module")
def analyzer() -> FrameAnalyzer:
    return FrameAnalyzer.shipped()


def test_rows_and_then_the_frame_and_then_the_next(analyzer: FrameAnalyzer) -> None:
    field, pipeline = Field(side_px=256), field_pipeline(analyzer)
    image = field.frame(0)
    for rows in (100, 160, 230):
        # Rows of an older frame below those that are valid.
        stale = np.concatenate([image[:rows], field.frame(9)[rows:]])
        result = pipeline.process(stale, context_of(), field.identity(0, rows))
        assert result.refusal is None
        assert result.frame.valid_rows == rows
        assert result.sites.y_px.max() < rows
        assert result.frames_accumulated == 1
    assert pipeline.process(image, context_of(), field.identity(0)).frames_accumulated == 1
    again = pipeline.process(field.frame(1), context_of(), field.identity(1))
    assert again.frames_accumulated == 2
    # Rows of the next pass speak for themselves; the frame that they become adds to its field.
    part = pipeline.process(field.frame(2)[:128], context_of(), field.identity(2, 128))
    assert part.frames_accumulated == 1
    assert pipeline.process(field.frame(2), context_of(), field.identity(2)).frames_accumulated == 3


def test_clients_share_no_memory(analyzer: FrameAnalyzer) -> None:
    field = Field(side_px=256)
    one, other = field_pipeline(analyzer), field_pipeline(analyzer)
    for number in range(2):
        result = one.process(field.frame(number), context_of(), field.identity(number))
    assert result.frames_accumulated == 2
    assert other.process(field.frame(2), context_of(), field.identity(2)).frames_accumulated == 1


def test_memory_is_flat_over_many_frames(analyzer: FrameAnalyzer) -> None:
    field, pipeline = Field(side_px=160), field_pipeline(analyzer, 1)
    images = [field.frame(number) for number in range(4)]
    process = psutil.Process()
    sizes = []
    for number in range(40):
        image = images[number % 4]
        pipeline.process(image[:100], context_of(), field.identity(number, 100))
        pipeline.process(image, context_of(), field.identity(number))
        gc.collect()
        sizes.append(process.memory_info().rss / 2**20)
    print("resident MiB", [round(s, 1) for s in sizes[::10]], round(sizes[-1], 1))
    assert sizes[-1] - sizes[10] < 8


def test_threads_reach_the_compiled_loops() -> None:
    used = []

    class Noting(KnownAnswers):
        def analyze(self, image, given, frame=None):  # type: ignore[no-untyped-def]
            used.append(numba.get_num_threads())
            return super().analyze(image, given, frame)

    image = np.zeros((64, 64), np.float32)
    before = numba.get_num_threads()
    try:
        FramePipeline(Noting(), threads=1).process(image, context(), FrameIdentity())
        FramePipeline(Noting()).process(image, context(), FrameIdentity())
        FramePipeline(Noting()).process(np.zeros((512, 512), np.float32), context(), FrameIdentity())
    finally:
        numba.set_num_threads(before)
    assert used == [1, 1, numba.config.NUMBA_NUM_THREADS]
