"""The gallery: pictures of what is simulated, each a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stemctx_core.simulating.class_pictures import classes_picture
from stemctx_core.simulating.frame_pictures import frames_picture
from stemctx_core.simulating.imperfection_pictures import imperfections_picture
from stemctx_core.simulating.panels import palette_png
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.whole_files import write_whole


def write_gallery(
    library: ResponseLibrary, folder: Path, progress: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Draw all pictures into a folder; each appears whole or not at all.

    Parameters
    ----------
    progress
        Called with the name of each picture before it is drawn.

    Returns
    -------
    list of Path
        The files.
    """
    pictures = (
        ("classes.png", classes_picture),
        ("imperfections.png", imperfections_picture),
        ("frames.png", frames_picture),
    )
    written = []
    for name, draw in pictures:
        progress(name)
        path = folder / f"simulated_{name}"
        write_whole(path, palette_png(draw(library)))
        written.append(path)
    return written
