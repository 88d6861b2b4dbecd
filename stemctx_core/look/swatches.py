"""A picture of the colours of all classes, as every reader sees them: ``python -m stemctx_core.look.swatches FILE.png``."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from stemctx_core.chemistry.classes import Role
from stemctx_core.look.colour_vision import Vision, rgb, seen
from stemctx_core.look.colours import INK, ROLE_COLOURS, ROLE_WORDS, UNDECIDED
from stemctx_core.whole_files import write_whole

_GREYS: Final = (0.05, 0.55)


def swatches_png() -> bytes:
    """Draw every class as a ring on dark and on light grey, in one column a kind of colour vision."""
    named = {**{words: ROLE_COLOURS[role] for role, words in ROLE_WORDS.items()}, "undecided": UNDECIDED}
    named["host"] = ROLE_COLOURS[Role.METAL]
    figure = Figure(figsize=(9.2, 0.33 * len(named) + 0.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for column, vision in enumerate(Vision):
        left = 4.0 + 3.2 * column
        axes.text(left + 1.2, -0.75, vision.value, ha="center", fontsize=9, color=INK)
        for half, grey in enumerate(_GREYS):
            x = left + 1.2 * half
            axes.fill_between((x, x + 1.2), -0.5, len(named) - 0.5, color=str(grey), lw=0)
            for row, colour in enumerate(seen(rgb(list(named.values())), vision)):
                axes.add_patch(Circle((x + 0.6, row), 0.3, fill=False, ec=tuple(colour), lw=2.6))
    for row, (words, colour) in enumerate(named.items()):
        axes.text(3.7, row, f"{words}  {colour}", ha="right", va="center", fontsize=9, color=INK)
    axes.set(xlim=(-3.2, 16.2), ylim=(len(named) - 0.4, -1.2), aspect="equal")
    axes.set_axis_off()
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": "stemctx"})
    return png.getvalue()


if __name__ == "__main__":
    write_whole(Path(sys.argv[1]), swatches_png())
