"""The obvious way to judge a frame: peaks, squares of pixels around them, the net in eager PyTorch.

It is given what an analysis has to find out first (dose, source size, background), and neither calibrates nor decides.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from realtime.benchmarks.frames import PIXEL_ANGSTROM
from stemctx_core.classifier.classifier import Bundle
from stemctx_core.contrast.patches import SIDE
from stemctx_core.encoding.encode import encode
from stemctx_core.scene import Scene
from stemctx_core.simulation.library import shipped_library

#: Smoothing before peaks are looked for, and the least distance between two; columns are 1.9 Å apart.
SMOOTHING_ANGSTROM: Final = 0.5
LEAST_DISTANCE_ANGSTROM: Final = 1.0
#: Patches at a time, as the server gives them to its engine; all at once is slower.
_BATCH: Final = 1024

Scores = Callable[[NDArray[np.float32]], object]


def eager_net(bundle: Bundle, scene: Scene, threads: int) -> Scores | None:
    """The shipped net in eager PyTorch, on (n, SAMPLES) patches; None where PyTorch or onnx is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
        return None
    from stemctx_core.training.restored import eager

    return eager(bundle.onnx_bytes, encode(shipped_library(), scene).inputs(), threads)


def judge(image: NDArray[np.float32], net: Scores) -> tuple[dict[str, float], NDArray[Any]]:
    """Milliseconds of each stage of one frame, and (n, 2) y, x of the peaks."""
    times = [time.perf_counter_ns()]
    smooth = gaussian(image, SMOOTHING_ANGSTROM / PIXEL_ANGSTROM)
    peaks: NDArray[Any] = peak_local_max(
        smooth, min_distance=round(LEAST_DISTANCE_ANGSTROM / PIXEL_ANGSTROM), exclude_border=False
    )
    times.append(time.perf_counter_ns())
    half = SIDE // 2
    whole = ((peaks >= half) & (peaks <= np.array(image.shape) - half)).all(axis=1)
    steps = np.arange(-half, half)
    y, x = peaks[whole].T
    patches = image[y[:, None, None] + steps[:, None], x[:, None, None] + steps]
    patches = patches.reshape(len(patches), -1) / np.float32(smooth.max())
    times.append(time.perf_counter_ns())
    for start in range(0, len(patches), _BATCH):
        net(patches[start : start + _BATCH])
    times.append(time.perf_counter_ns())
    milliseconds = np.diff(times) / 1e6
    stages = ("peaks", "patches", "network")
    return {name: float(ms) for name, ms in zip(stages, milliseconds, strict=True)}, peaks
