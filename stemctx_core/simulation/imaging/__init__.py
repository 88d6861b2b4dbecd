"""Imperfections of microscopes and specimens as steps that compose, are recorded and rebuilt.

Magnitudes that stand as defaults are those of measured frames of WSe2 and MoS2 monolayers at 60 and 80 kV.
"""

from stemctx_core.simulation.imaging.chain import ImagingChain, Step, check_dose
from stemctx_core.simulation.imaging.detection import (
    Afterglow,
    AmplitudeNoise,
    Gain,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Saturation,
    Spikes,
)
from stemctx_core.simulation.imaging.intensity import AmorphousCarbon, Contamination, EffectiveSource, Haze
from stemctx_core.simulation.imaging.motion import Drift, Flyback, LineJitter, Warp
from stemctx_core.simulation.imaging.scan import ImagingStep, Scan, Stage

__all__ = [
    "Afterglow",
    "AmorphousCarbon",
    "AmplitudeNoise",
    "Contamination",
    "Drift",
    "EffectiveSource",
    "Flyback",
    "Gain",
    "Haze",
    "ImagingChain",
    "ImagingStep",
    "LineJitter",
    "PixelCorrelation",
    "Quantisation",
    "ReadoutNoise",
    "Saturation",
    "Scan",
    "Spikes",
    "Stage",
    "Step",
    "Warp",
    "check_dose",
]
