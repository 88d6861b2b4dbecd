"""Judges a frame of 8192 by 8192 pixels, and prints what it took; a process of its own, so that its memory is its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from stemctx_core.analysis import FrameAnalyzer
from tests.core.calibration.test_fault_frames import SMALL, wrong_flags
from tests.core.frames import FrameRecipe, make_frame
from tests.core.judging.test_analysis import context_of

_KIB_PER_UNIT = 1 / 1024 if sys.platform == "darwin" else 1.0


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB_PER_UNIT / 1024


def _judge(analyzer: FrameAnalyzer, recipe: FrameRecipe, image: np.ndarray) -> float:
    start = time.process_time()
    analyzer.analyze(image, context_of(recipe))
    return time.process_time() - start


def main() -> None:
    """Judge a small frame, a large one tile for tile larger, and say the ratio of the times for each pixel."""
    analyzer = FrameAnalyzer.shipped()
    small = replace(SMALL, shape=(1024, 1024))
    image = make_frame(small).image
    _judge(analyzer, small, image)
    small_s = _judge(analyzer, small, image)
    large = replace(SMALL, shape=(8192, 8192))
    frame = make_frame(large)
    image = frame.image.astype(np.float32)
    before_mib = _peak_mib()
    start = time.process_time()
    result = analyzer.analyze(image, context_of(large))
    large_s = time.process_time() - start
    said = {
        "refusal": result.refusal.code if result.refusal else "",
        "sites": len(result.sites),
        "flags": sum(result.flag_counts().values()),
        "wrong": wrong_flags(result, frame),
        "more_mib": _peak_mib() - before_mib,
        "image_mib": image.nbytes / 2**20,
        "time_ratio": large_s / small_s / 64,
    }
    print(json.dumps(said))  # what the test reads


if __name__ == "__main__":
    main()
