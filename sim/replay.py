"""A file in the place of the specimen: a micrograph, or the frames of a recording one after the other.

The middle of the file's image lies at the origin of the specimen, so that stage, scan centre, rotation and field of
view act as on a crystal. Pixels are shown as they are: no noise is added, no beam damages them, and every channel
shows the same, since a file is of one detector.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from realtime.recording.recordings import RecordingReader
from sim.geometry import FrameGeometry
from stemctx_core.context import ImagingContext, Known
from stemctx_core.errors import InputError
from stemctx_core.reading import read_micrograph

#: Suffixes of recordings; every other file is read as a micrograph.
RECORDINGS: Final = (".h5", ".hdf5")


@dataclass(frozen=True)
class ReplayedImage:
    """One image of a file.

    Attributes
    ----------
    pixels
        (height, width) float32 as in the file.
    pixel_size_nm
        Square pixels.
    """

    pixels: NDArray[np.float32]
    pixel_size_nm: float

    def seen(self, geometry: FrameGeometry, first: int = 0, end: int | None = None) -> NDArray[np.float32]:
        """(rows, width) the file at the pixels of a frame, from a row to another; beside the file, its darkest value.

        Linear between the file's pixels; on its own pixel grid it is the file.
        """
        height, width = geometry.shape
        y, x = np.mgrid[first : height if end is None else end, 0:width].astype(np.float64)
        places = geometry.to_specimen_nm(np.stack([y.ravel(), x.ravel()], axis=1)) / self.pixel_size_nm
        middle = (np.array(self.pixels.shape) - 1) / 2
        # A millionth of a pixel is rounding, and would blend neighbours at the border with what is beside the file.
        at = np.round(places + middle, 6)
        seen = map_coordinates(self.pixels, at.T, order=1, mode="constant", cval=float(np.nanmin(self.pixels)))
        frame: NDArray[np.float32] = seen.reshape(y.shape).astype(np.float32)
        return frame


@dataclass(frozen=True, eq=False)
class Replay:
    """What a file holds, to be shown frame by frame.

    Attributes
    ----------
    path
        The file.
    count
        Images in it.
    read
        Gives one of them by its number, counted from 0; `InputError` where it is damaged or the file was closed.
    context
        Under which it was recorded, where the file says so.
    close
        Lets go of the file.
    """

    path: Path
    count: int
    read: Callable[[int], ReplayedImage]
    context: ImagingContext | None = None
    close: Callable[[], None] = lambda: None

    def image(self, frame_number: int) -> ReplayedImage:
        """Image that is shown in a frame; after the last one the first comes again."""
        return self.read((frame_number - 1) % self.count)


def open_replay(path: Path, pixel_size_angstrom: float | None = None) -> Replay:
    """Open a recording (HDF5) or a micrograph (TIFF, NumPy).

    Parameters
    ----------
    path
        Which is meant is told by the suffix.
    pixel_size_angstrom
        To be used in the place of what the file says, or where it says nothing.

    Raises
    ------
    InputError
        A file that cannot be read, holds no whole frame, or does not say how large its pixels are.
    """
    if pixel_size_angstrom is not None and not 0.001 < pixel_size_angstrom < 100.0:
        raise InputError(f"Pixels of {pixel_size_angstrom:g} Å cannot be. Give some hundredths to tenths.")
    if path.suffix.lower() in RECORDINGS:
        return _open_recording(path, pixel_size_angstrom)
    micrograph = read_micrograph(path)
    stated = micrograph.pixel_size_angstrom
    size = pixel_size_angstrom or (stated.value if isinstance(stated, Known) else None)
    if size is None:
        raise InputError(f"{path.name} does not say how large its pixels are. Give their size in ångström.")
    image = ReplayedImage(_shown(micrograph.image), size / 10)
    return Replay(path, 1, lambda _: image)


def _open_recording(path: Path, pixel_size_angstrom: float | None) -> Replay:
    reader = RecordingReader(path)
    try:
        # Headers of partial frames are passed over: what they lack would be dark.
        whole = [n for n in reader.entries if _is_whole(reader, n)]
        if not whole:
            raise InputError(f"{path.name} holds no whole frame. Replay another recording.")
        context = reader.frame(whole[0]).header.context
        stated = context.pixel_size_angstrom
        if pixel_size_angstrom is None and not isinstance(stated, Known):
            raise InputError(f"{path.name} was recorded without a pixel size. Give the pixel size in ångström.")
    except BaseException:
        reader.close()
        raise

    lock, closed = threading.Lock(), threading.Event()

    def close() -> None:
        with lock:
            closed.set()
            reader.close()

    def read(number: int) -> ReplayedImage:
        with lock:
            if closed.is_set():
                raise InputError(f"{path.name} was closed. Replay it again.")
            frame = reader.frame(whole[number])
        stated = frame.header.context.pixel_size_angstrom
        size = pixel_size_angstrom or (stated.value if isinstance(stated, Known) else None)
        if size is None:
            raise InputError(f"Frame {whole[number]} of {path.name} has no pixel size. Give it in ångström.")
        return ReplayedImage(_shown(frame.image), size / 10)

    return Replay(path, len(whole), read, context, close)


def _is_whole(reader: RecordingReader, name: str) -> bool:
    frame = reader.frame(name).header.frame
    return frame.valid_rows in (0, frame.shape[0])


def _shown(pixels: NDArray[Any]) -> NDArray[np.float32]:
    shown: NDArray[np.float32] = np.nan_to_num(pixels.astype(np.float32))
    return shown
