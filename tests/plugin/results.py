"""A result of the real analysis, for tests of what becomes of a result."""

from __future__ import annotations

from functools import lru_cache

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.results import FrameIdentity, FrameResult

SHAPE = (192, 256)


@lru_cache(maxsize=1)
def judged() -> FrameResult:
    """A frame of the simulated microscope, wider than high, judged by the shipped model.

    To be asked for before Nion Swift is opened: there is one microscope in a process.
    """
    with HeadlessMicroscope(MicroscopeSettings(size=SHAPE, fov_nm=5.0)) as microscope:
        frame = microscope.record()[0]
        reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
        context = reader.read(frame.metadata, pixel_size_nm=(5.0 / 256, 5.0 / 256))
    result = FrameAnalyzer.shipped().analyze(
        frame.data, context, FrameIdentity(frame.metadata["scan"]["scan_id"], 0, SHAPE[0], SHAPE)
    )
    assert result.refusal is None, result.refusal
    return result
