"""Read a file, whatever its kind: one image, or all that it holds."""

from __future__ import annotations

import warnings
from pathlib import Path

from stemctx_core.errors import InputError
from stemctx_core.reading.images import MOST_IMAGES, Micrograph, RecordedImage, recorded, refuse_shape
from stemctx_core.reading.readers import lacking, reader_of


def read_images(path: Path) -> tuple[RecordedImage, ...]:
    """Read every image and stack of a file.

    Parameters
    ----------
    path
        Of a kind in `readable_suffixes`.

    Returns
    -------
    tuple of RecordedImage
        At least one. Of a file with several, those that are no image or stack of real numbers are left out.

    Raises
    ------
    InputError
        A file that is not there, cannot be read, needs a package, or holds no image or stack of real numbers. Sizes
        are compared with what a micrograph may have before memory is taken, and nothing is ever unpickled.
    """
    reader = reader_of(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the name.")
    kept: list[RecordedImage] = []
    refusals: list[InputError] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reader's remarks on a foreign header
            found = reader(path)
            if len(found) > MOST_IMAGES:
                raise InputError(f"{path} holds {len(found)} images; at most {MOST_IMAGES} are read. Split it.")
            for one in found:
                try:
                    kept.append(recorded(one, path))
                except InputError as refusal:
                    refusals.append(refusal)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise lacking(path, error) from error
    except Exception as error:  # a damaged file can make a reader raise anything
        words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read: {words}. Is it a whole {path.suffix} file?") from error
    if kept:
        return tuple(kept)
    raise refusals[0] if refusals else InputError(f"{path} holds no image.")


def read_micrograph(path: Path, channel: str | None = None, frame: int | None = None) -> Micrograph:
    """Read one image.

    Parameters
    ----------
    path
        Of a kind in `readable_suffixes`.
    channel
        Name of the detector channel, where a file holds several.
    frame
        Number of the frame in a stack, counted from 0.

    Raises
    ------
    InputError
        As of `read_images`, and where the file holds more than one image and none of them was named.
    """
    images = read_images(path)
    if channel is not None:
        images = tuple(i for i in images if i.name.lower() == channel.lower()) or images
        if images[0].name.lower() != channel.lower():
            raise InputError(f"{path} holds no image named {channel}. It holds {_named(images)}.")
    if len(images) > 1:
        raise InputError(f"{path} holds {len(images)} images: {_named(images)}. Name the one that is meant.")
    image = images[0]
    if frame is None and len(image.frames) > 1:
        refuse_shape(image.frames.shape, path)
    if not 0 <= (frame or 0) < len(image.frames):
        raise InputError(f"{path} holds {len(image.frames)} frames, counted from 0; there is no frame {frame}.")
    return Micrograph(image.frames[frame or 0], image.said.pixel_size_angstrom, path, image.name, image.said)


def _named(images: tuple[RecordedImage, ...]) -> str:
    return ", ".join(i.name or "(no name)" for i in images)
