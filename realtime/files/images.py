"""The images of a file that are meant, each with the context that is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from realtime.files.finding import detector_in_name
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError
from stemctx_core.reading import RecordedImage, read_images
from stemctx_core.reading.declared import Declared, context_of, detectors, told_of


class SeenImage(NamedTuple):
    """An image of a scan, ready to be judged.

    Attributes
    ----------
    name
        Its own, or that of its detector; empty where neither is known.
    notes
        Where sources of the context differ.
    """

    image: RecordedImage
    name: str
    context: ImagingContext
    notes: tuple[str, ...]


def seen_images(path: Path, options: Declared | None) -> tuple[list[SeenImage], list[str]]:
    """Images of a file that are to be judged, and what is said of those that are not.

    Raises
    ------
    InputError
        A file that cannot be read, or that holds no image of the detectors that are named.
    """
    told = told_of(path, options)
    named = detectors(told)
    images = read_images(path)
    of_file = detector_in_name(path, named)
    seen, left_out = [], []
    for image in images:
        detector = next((d for d in named if d.lower() == image.name.lower()), of_file)
        if named and not detector:
            left_out.append(f"{image.name or path.name}, which is none of the detectors named")
            continue
        name = image.name or detector
        context, notes = context_of(image.said, told, detector, name or path.name)
        seen.append(SeenImage(image, name, context, notes))
    if not seen:
        raise InputError(
            f"{path} holds no image of {', '.join(named)}. It holds {', '.join(i.name or 'one without a name' for i in images)}."
        )
    return seen, left_out
