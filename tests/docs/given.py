"""What a reader has before the first line of a page: micrographs, and labels given by hand; written to this folder.

Run with the page's name, which may ask for more than every page has.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.flags.labels import label_of
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.results import Decision, FrameIdentity

#: Two hundredths of a nanometre a pixel.
PIXELS, FIELD_NM = 256, 5.12


def main(page: str) -> None:
    """Scan once, with the simulated microscope."""
    logging.getLogger().addHandler(logging.NullHandler())
    with HeadlessMicroscope(MicroscopeSettings(size=(PIXELS, PIXELS), fov_nm=FIELD_NM)) as microscope:
        microscope.scan.set_channel_enabled(1, True)
        frames = microscope.record()
        reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
        context = reader.read(frames[0].metadata, pixel_size_nm=(FIELD_NM / PIXELS,) * 2)
        image, other = (np.array(frame.data) for frame in frames)
    _tiff("frame.tif", image)
    session = Path("session")
    session.mkdir()
    for copy in ("frame_1.tif", "frame_2.tif"):
        shutil.copy("frame.tif", session / copy)
    result = FrameAnalyzer.shipped().analyze(image, context, FrameIdentity("scan", 0, PIXELS, (PIXELS, PIXELS)))
    for site in result.where(Decision.FLAG)[:3]:
        label = label_of(result, int(site), image, Judgement.ACCEPT)
        hand_labels.append(Path("stemctx_labels.jsonl"), label)
    more: dict[str, Callable[[], None]] = {
        "docs/files.md": lambda: files(image, other),
        "docs/scripting.md": many_labels,
    }
    if page in more:
        more[page]()


def files(haadf: NDArray[Any], maadf: NDArray[Any]) -> None:
    """The same scan in files of other kinds: a stack, one of both detectors, one for each."""
    from tests.core.microscope_files import write_dm, write_velox

    said = {"Microscope Info": {"Voltage": 80e3}, "EELS": {"Convergence semi-angle (mrad)": 30.0}}
    write_dm(Path("frame.dm4"), haadf, said)
    noise = np.random.default_rng(1)
    write_dm(Path("series.dm4"), noise.poisson(haadf / 4, (4, *haadf.shape)).astype(np.float32), said)
    write_velox(Path("scan.emd"), {"HAADF": haadf, "MAADF": maadf}, AccelerationVoltage="80000")
    _tiff("scan_1_ADF1.tif", haadf)
    _tiff("scan_1_ADF2.tif", maadf)


def many_labels() -> None:
    """A hundred labels of a microscope whose angles are other than declared, so that tuning has something to find."""
    from tests.training.tuning_support import drawn, simulated_labels, written

    rng = np.random.default_rng(0)
    labels = [label for seed in (1, 2) for label in drawn(simulated_labels(seed), 60, rng)]
    written(Path("labels.jsonl"), labels)


def _tiff(name: str, image: NDArray[Any]) -> None:
    per_cm = PIXELS / (FIELD_NM * 1e-7)
    tifffile.imwrite(name, image, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")


if __name__ == "__main__":
    main(sys.argv[1])
