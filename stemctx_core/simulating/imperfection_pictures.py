"""The picture of every imperfection of microscopes and specimens."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line, SecondLayer
from stemctx_core.simulating.panels import contrast, panel_grid, scale_bar, show
from stemctx_core.simulation.imaging import (
    Afterglow,
    AmorphousCarbon,
    AmplitudeNoise,
    Contamination,
    Drift,
    EffectiveSource,
    Flyback,
    Gain,
    Haze,
    ImagingChain,
    LineJitter,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Saturation,
    Spikes,
    Step,
    Warp,
)
from stemctx_core.simulation.library import ResponseLibrary

_KV: Final = 80.0
_DETECTOR_MRAD: Final = (70.0, 200.0)
_VACANCIES: Final = {Role.CHALCOGEN_VACANCY: 0.15, Role.CHALCOGEN_DIVACANCY: 0.12}


def imperfections_picture(library: ResponseLibrary) -> Figure:
    """One frame of each imperfection, strong enough to be seen, beside a frame without any."""
    crystal = CrystalRecipe(rotation_rad=0.15, offset_angstrom=(0.0, 0.0))
    base = FrameRecipe(
        Case(materials.host("WSe2"), ("V",), _KV, *_DETECTOR_MRAD),
        shape=(170, 170),
        pixel_size_angstrom=0.3,
        dose_e_per_angstrom2=3e4,
        crystal=crystal,
    )

    def seen(*steps: Step, **changes: Any) -> FrameRecipe:
        return msgspec.structs.replace(base, chain=ImagingChain(steps), **changes)

    def grown(**changes: Any) -> FrameRecipe:
        return msgspec.structs.replace(base, crystal=msgspec.structs.replace(crystal, **changes))

    recipes: list[tuple[str, FrameRecipe]] = [
        ("none: Poisson noise, 3·10⁴ e/Å²", base),
        ("dose: 10³ e/Å²", msgspec.structs.replace(base, dose_e_per_angstrom2=1e3)),
        ("drift: 6 Å down, 12 Å right", seen(Drift((6.0, 12.0)))),
        ("warp: 1.5 Å over 50 Å", seen(Warp(1.5, 50.0))),
        ("scan-line jitter: 0.3 Å", seen(LineJitter((0.05, 0.3), 0.3))),
        ("flyback: 6 Å, settling in 20 px", seen(Flyback(6.0, 20.0))),
        ("defocus: 4 nm", msgspec.structs.replace(base, defocus_nm=4.0)),
        ("source: elliptic, 0.6 Å", seen(EffectiveSource(0.6, 0.05, 0.8, 0.0, 0.0, 0.0))),
        ("source: coma, 1.2 Å", seen(EffectiveSource(0.0, 0.0, 0.0, 0.45, 1.2, 0.5))),
        ("haze: 0.6 of a W column", seen(Haze(0.6, 0.8, 0.8))),
        ("contamination", seen(Contamination(0.6, 25.0, 0.45))),
        ("amorphous carbon: 0.3 of a W column", seen(AmorphousCarbon(0.3, 0.4))),
        ("amplitude noise: 25 %", seen(AmplitudeNoise(0.2, 0.15))),
        ("afterglow: 40 % over 4 px", seen(Afterglow(0.4, 4.0))),
        ("correlated pixels: 0.4", seen(PixelCorrelation(0.4), dose_e_per_angstrom2=2e3)),
        ("bright pixels: 0.2 %", seen(Spikes(2e-3, 2.0))),
        ("read-out noise: 0.2 of a W column", seen(ReadoutNoise(0.2))),
        ("saturation at 0.6 of a W column", seen(Saturation(0.6))),
        ("converter of 3 bits", seen(Gain(0.05, 0.8), Quantisation(3))),
        ("grain boundary, 22°", grown(boundary=GrainBoundary(line=Line(0.3, 0.0)))),
        ("mirror twin", grown(boundary=GrainBoundary("mirror", 0.0, Line(0.6, 0.0)))),
        ("hole", grown(holes=(Hole((0.5, 0.5), 11.0, 0.8),))),
        ("edge of the flake", grown(edge=Line(0.4, 0.1, 0.8))),
        ("second layer, 2H", grown(second_layer=SecondLayer(line=Line(-0.5, 0.0, 0.5)))),
        ("second layer, 9° twisted", grown(second_layer=SecondLayer(0.157, 0.0, Line(-0.5, 0.0, 0.5)))),
        ("dopants in clusters, 12 %", grown(clustering=0.7, prevalence={Role.DOPANT: 0.12})),
        ("vacancies: 15 % Se, 12 % Se2", grown(prevalence=_VACANCIES)),
        ("typical chain", msgspec.structs.replace(base, chain=ImagingChain.typical())),
    ]
    across = 7
    figure, axes = panel_grid(len(recipes) // across, across, 1.7, top=0.45, left=0.1)
    for k, (name, recipe) in enumerate(recipes):
        image = labelled_frame(library, recipe, 5).images[0].astype(np.float32)
        ax = axes[k // across][k % across]
        low, high = contrast(image)
        show(ax, image, low, high)
        ax.set_title(name, fontsize=6.8, pad=2)
    for row in axes:
        scale_bar(row[0], 10.0, "1 nm", 0.3)
    figure.suptitle("One imperfection a frame: V-doped WSe2, 80 kV, 70-200 mrad", fontsize=9)
    return figure
