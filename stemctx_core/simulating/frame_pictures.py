"""The picture of whole frames, as a microscope gives them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, LabelledFrame, labelled_frame
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line
from stemctx_core.look.pictures import ROLE_STYLE
from stemctx_core.simulating.panels import contrast, panel_grid, scale_bar, show
from stemctx_core.simulation.imaging import (
    ImagingChain,
)
from stemctx_core.simulation.library import ResponseLibrary

_DETECTORS_MRAD: Final = ((70.0, 200.0), (50.0, 120.0))
_KV: Final = 80.0


def frames_picture(library: ResponseLibrary) -> Figure:
    """Two frames as a microscope gives them, two detectors each; the first one's truth is drawn into it."""
    crystal = CrystalRecipe(
        substitutes=("S",), complexes=True, clustering=0.3, rotation_rad=0.2,
        prevalence={Role.CHALCOGEN_VACANCY: 0.04, Role.DOPANT: 0.02},
    )  # fmt: skip
    dirty = msgspec.structs.replace(
        crystal, boundary=GrainBoundary("mirror", 0.0, Line(1.0, -0.1)), holes=(Hole((0.28, 0.75), 13.0, 1.0),)
    )
    base = FrameRecipe(
        Case(materials.host("WSe2"), ("V",), _KV, *_DETECTORS_MRAD[0]),
        second_detector_mrad=_DETECTORS_MRAD[1],
        shape=(384, 384),
        dose_e_per_angstrom2=2e4,
        crystal=crystal,
        chain=ImagingChain.typical(),
    )
    difficult = msgspec.structs.replace(base, crystal=dirty, chain=ImagingChain.difficult())
    figure, axes = panel_grid(1, 4, 3.05, top=0.56, left=0.1, bottom=0.08)
    for f, (name, recipe) in enumerate((("typical", base), ("difficult", difficult))):
        frame = labelled_frame(library, recipe, 2)
        for d, (inner, outer) in enumerate(recipe.detectors_mrad):
            ax, image = axes[0][2 * f + d], frame.images[d].astype(np.float32)
            show(ax, image, *contrast(image))
            ax.set_title(f"{name}, {inner:g}-{outer:g} mrad", fontsize=8.5, pad=3)
            scale_bar(ax, 20.0, "2 nm")
            if f == 0 and d == 0:
                figure.legend(handles=_mark(ax, frame), loc="lower center", ncols=9, fontsize=7, frameon=False)
    figure.suptitle(
        "Two scans of V-doped WSe2, 80 kV, 2·10⁴ e/Å², two detectors at once; marks are the truth", fontsize=9
    )
    return figure


def _mark(ax: Any, frame: LabelledFrame) -> list[Line2D]:
    sites, handles = frame.sites, []
    for role, (colour, marker, spoken) in ROLE_STYLE.items():
        mine = sites.positions_px[sites.role == role.value]
        if len(mine):
            handles += ax.plot(
                mine[:, 1],
                mine[:, 0],
                marker,
                ms=4.5,
                mfc="none",
                mec=colour,
                mew=0.9,
                label=f"{spoken}: {len(mine)}",
            )
    return handles
