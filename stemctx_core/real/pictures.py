"""Pictures of the real frames: overlays with fewer pixels than the micrographs have, and the plane of two detectors."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from stemctx_core.judging.decision import OBSTACLES
from stemctx_core.look.colours import ROLE_COLOURS, UNDECIDED
from stemctx_core.look.pictures import overlay_png
from stemctx_core.real.measuring import THIRD, THIRD_HALF, Measured

#: Eight inches of it have fewer pixels than the frames.
_DPI: Final = 52
#: Greys of an overlay: a noisy micrograph in all of them is many times larger, and shows no more.
_GREYS: Final = 40
#: Name of the run, and of its picture.
OVERLAYS: Final = {
    "ADF1 thorough": "real_adf1.png",
    "ADF2 thorough": "real_adf2.png",
    "both thorough": "real_both.png",
    "MoS2 at 60 kV": "real_mos2.png",
    "MoSe2 grain boundary": "real_grain_boundary.png",
}
PLANE: Final = "real_two_detectors.png"


def pictures(measured: Measured) -> dict[str, bytes]:
    """PNG files by name."""
    found = {}
    for run, name in OVERLAYS.items():
        png = overlay_png(measured.images[run], measured.results[run], run, dpi=_DPI)
        small = io.BytesIO()
        whole = Image.open(io.BytesIO(png)).convert("RGB")
        whole.quantize(palette=_palette(), dither=Image.Dither.NONE).save(small, format="png", optimize=True)
        found[name] = small.getvalue()
    return {**found, PLANE: _plane(measured)}


def _palette() -> Image.Image:
    """Greys, and the colours that overlays are drawn in."""
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    named = 255 * np.array([to_rgb(name) for name in (*ROLE_COLOURS.values(), UNDECIDED)])
    colours = np.rint(np.concatenate([greys, named])).astype(int)
    filled = np.concatenate([colours, np.repeat(colours[:1], 256 - len(colours), axis=0)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(filled.ravel().tolist())
    return palette


def _plane(measured: Measured) -> bytes:
    """Amplitudes of the chalcogen columns on both detectors, coloured by what they are taken for."""
    result = measured.results["both thorough"]
    chalcogen = result.sites.sublattice == 1
    judged = ~np.isin(np.array(result.reasons)[result.sites.reason], OBSTACLES[1:])[chalcogen]
    best = np.where(judged, result.sites.best[chalcogen], -1)
    figure = Figure(figsize=(6, 5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for k in np.unique(best[judged]):
        mine = best == k
        axes.plot(
            *measured.amplitudes[:, mine],
            ".",
            ms=3,
            label=f"{result.candidates[int(k)].species}: {int(mine.sum())}",
        )
    corner = (THIRD[0] - THIRD_HALF, THIRD[1] - THIRD_HALF)
    axes.add_patch(Rectangle(corner, 2 * THIRD_HALF, 2 * THIRD_HALF, fill=False, ec="black", lw=0.8))
    axes.set(
        xlabel="amplitude on ADF1, of Se2",
        ylabel="amplitude on ADF2, of Se2",
        xlim=(-0.2, 1.7),
        ylim=(-0.2, 1.7),
    )
    axes.legend(frameon=False, markerscale=3)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()
