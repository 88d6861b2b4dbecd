"""Panels of micrographs: their grid, contrast and scale bars, and small files of them."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from stemctx_core.look.colours import ROLE_COLOURS

_GREYS: Final = 48


def panel_grid(
    rows: int, columns: int, inches: float, top: float, left: float, bottom: float = 0.0
) -> tuple[Figure, list[list[Any]]]:
    """A figure of square panels, with room above for titles and below for labels."""
    gap = 0.24
    width, height = left + columns * (inches + 0.05) + 0.05, top + rows * (inches + gap) + bottom
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    axes = [
        [
            figure.add_axes(
                (
                    (left + c * (inches + 0.05)) / width,
                    1 - (top + r * (inches + gap) + inches) / height,
                    inches / width,
                    inches / height,
                )
            )
            for c in range(columns)
        ]
        for r in range(rows)
    ]
    return figure, axes


def show(ax: Any, image: NDArray[np.float32], low: float, high: float) -> None:
    """Draw an image between two intensities, without ticks or a frame."""
    height, width = image.shape
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)


def contrast(image: NDArray[np.float32]) -> tuple[float, float]:
    """Black and white levels that leave out the few darkest and brightest pixels."""
    low, high = np.percentile(image, (0.5, 99.7))
    return float(low), float(max(high, low + 1e-6))


def scale_bar(ax: Any, length_angstrom: float, words: str, px: float = 0.2) -> None:
    """Draw a bar of a length with its words, for pixels of `px` Å."""
    right, bottom = ax.get_xlim()[1], ax.get_ylim()[0]
    bar, thick = length_angstrom / px, 0.018 * bottom
    ax.add_patch(Rectangle((0.05 * right, 0.94 * bottom), bar, thick, color="white", ec="black", lw=0.4))
    ax.text(
        0.05 * right + bar / 2, 0.925 * bottom, words, color="white", ha="center", va="bottom", fontsize=6.5,
        bbox={"facecolor": "black", "alpha": 0.55, "pad": 0.8, "lw": 0},
    )  # fmt: skip


def wrapped(words: str) -> str:
    """Words of a title over two lines of about the same length."""
    parts = words.split(" ")
    cut = min(range(1, len(parts) + 1), key=lambda k: abs(len(" ".join(parts[:k])) - len(words) / 2))
    return (" ".join(parts[:cut]) + "\n" + " ".join(parts[cut:])).strip()


def palette_png(figure: Figure) -> bytes:
    """The figure as a PNG of a palette, greys and the roles' colours over them: a third of the size, and it looks the same."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    drawn.seek(0)
    greys = [(g, g, g) for g in np.linspace(0, 255, _GREYS).astype(int).tolist()]
    full = [tuple(int(c[k : k + 2], 16) for k in (1, 3, 5)) for c in ROLE_COLOURS.values()]
    mixed = [
        tuple(round(s * v + (1 - s) * g) for v in c)
        for c in dict.fromkeys(full)
        for s in (1, 0.8, 0.6)
        for g in (0, 90, 255)
    ]
    palette = np.array([*greys, *mixed])
    with Image.open(drawn) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    colours, where = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = cKDTree(palette).query(colours)[1][where].astype(np.uint8)
    small = Image.fromarray(nearest.reshape(pixels.shape[:2]), mode="P")
    small.putpalette(palette.ravel().tolist())
    small.save(packed, format="PNG", optimize=True)
    return packed.getvalue()
