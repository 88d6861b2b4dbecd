"""What a reader has before the first line of a page: a micrograph, and labels given by hand; written to this folder."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile

from nionswift_plugin.stemctx.context.context_reader import ContextReader
from nionswift_plugin.stemctx.flags.labels import label_of
from sim.headless import HeadlessMicroscope
from sim.instrument import MicroscopeSettings
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.labelling import hand_labels
from stemctx_core.labelling.hand_labels import Judgement
from stemctx_core.results import Decision, FrameIdentity

PIXELS, FIELD_NM = 256, 5.0


def main() -> None:
    """Scan once, with the simulated microscope."""
    logging.getLogger().addHandler(logging.NullHandler())
    with HeadlessMicroscope(MicroscopeSettings(size=(PIXELS, PIXELS), fov_nm=FIELD_NM)) as microscope:
        frame = microscope.record()[0]
        reader = ContextReader(microscope.stem_controller, "WSe2", ("V",))
        context = reader.read(frame.metadata, pixel_size_nm=(FIELD_NM / PIXELS,) * 2)
        image = np.array(frame.data)
    per_cm = PIXELS / (FIELD_NM * 1e-7)
    tifffile.imwrite("frame.tif", image, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    result = FrameAnalyzer.shipped().analyze(image, context, FrameIdentity("scan", 0, PIXELS, (PIXELS, PIXELS)))
    for site in result.where(Decision.FLAG)[:3]:
        label = label_of(result, int(site), image, Judgement.ACCEPT)
        hand_labels.append(Path("stemctx_labels.jsonl"), label)


if __name__ == "__main__":
    main()
