"""Labels that an operator gave by hand: one line of JSON each in a file that only grows.

The file is meant to outlive whoever writes it: a line is on the disk when `append` returns, a line that a crash cut
short is passed over when the file is read, and the next label begins on a line of its own. ``docs/labels.md``
describes the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.patches import SAMPLES, SIDE
from stemctx_core.errors import InputError
from stemctx_core.results import CalibrationSummary, FrameIdentity

FORMAT: Final = 1
#: A file of this size holds over a hundred thousand labels; beyond it, something writes that is no operator.
MOST_BYTES: Final = 2**30
#: A label takes about 7 kB; a longer line is none, and is not decoded.
_MOST_LINE_BYTES: Final = 2**16


class Judgement(StrEnum):
    """What the operator said of a flag."""

    ACCEPT = "accept"
    REJECT = "reject"
    RELABEL = "relabel"


class HandLabel(msgspec.Struct, frozen=True):
    """What stands at one site, by an operator's eye. Unknown keys of a newer version are passed over.

    Attributes
    ----------
    format
        `FORMAT`.
    time_utc
        When it was given, ISO 8601.
    judgement
        What was said of the flag.
    label
        Species that stands there, as in `posterior`: the host's own column where the flag was rejected.
    found, probability, posterior
        Species that was flagged, its probability, and the probability of every candidate, by species.
    sublattice
        Of the site.
    y_px, x_px
        Array index of the site in its frame.
    frame, context, calibration
        The frame, how it was imaged, and what it says of itself.
    frames_accumulated
        Frames of the field behind the posterior; the patch is of the last one alone.
    model
        What judged: name and first digits of the hash of its file.
    patch
        SIDE² little-endian float32: the lattice-registered patch in the intensity units of the frame.
    inclusion_probability
        With which this site was to be drawn for labelling, where sites were drawn at random; None where somebody chose.
    """

    time_utc: str
    judgement: Judgement
    label: str
    found: str
    probability: float
    posterior: dict[str, float]
    sublattice: Sublattice
    y_px: float
    x_px: float
    frame: FrameIdentity
    context: ImagingContext
    calibration: CalibrationSummary
    frames_accumulated: int
    model: str
    patch: bytes
    format: int = FORMAT
    inclusion_probability: Annotated[float, Meta(gt=0, le=1)] | None = None

    @property
    def image(self) -> NDArray[np.float32]:
        """(SIDE, SIDE) patch as `stemctx_core.contrast.cutting.extract_patches` gives it."""
        return np.frombuffer(self.patch, "<f4").astype(np.float32).reshape(SIDE, SIDE)

    @property
    def site(self) -> tuple[object, ...]:
        """What a later label of the same site has in common with this one."""
        return self.frame.scan_id, self.frame.frame_index, round(self.y_px, 1), round(self.x_px, 1)


class LabelFile(msgspec.Struct, frozen=True):
    """What a file holds.

    Attributes
    ----------
    labels
        In the order they were given.
    damaged
        Number of lines that could not be read.
    """

    labels: tuple[HandLabel, ...]
    damaged: int


def patch_bytes(patch: NDArray[Any]) -> bytes:
    """A patch of SAMPLES intensities as a label holds it."""
    return np.asarray(patch, "<f4").reshape(SAMPLES).tobytes()


def append(path: Path, label: HandLabel) -> None:
    """Add a label to a file, and make the file where there is none; it is on the disk when this returns.

    Raises
    ------
    InputError
        Where the file is full, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            line = msgspec.json.encode(label) + b"\n"
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # a crash cut the last line short
                    line = b"\n" + line
            if size + len(line) > MOST_BYTES:
                raise InputError(f"{path} is full ({size} bytes). Move it elsewhere; a new one is begun then.")
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"The label was not kept: {path} cannot be written ({error}). Free it, and repeat."
        ) from error


def read(path: Path) -> LabelFile:
    """Read a file of labels; a line that is damaged is counted and passed over.

    Raises
    ------
    InputError
        Where there is no such file, or it is larger than any that `append` makes.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than a file of labels can be. Check which file it is.")
        labels, damaged = [], 0
        with path.open("rb") as file:
            while line := file.readline(_MOST_LINE_BYTES):
                label = _label(line)
                labels += [label] if label is not None else []
                damaged += label is None
        return LabelFile(tuple(labels), damaged)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Check the name.") from error


def latest(labels: Iterable[HandLabel]) -> tuple[HandLabel, ...]:
    """Of several labels of one site of a frame, the one given last; the others were thought better of."""
    return tuple({label.site: label for label in labels}.values())


def _label(line: bytes) -> HandLabel | None:
    try:
        label = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    known = label.format == FORMAT and len(label.patch) == 4 * SAMPLES and label.label in label.posterior
    return label if known else None


_DECODER: Final = msgspec.json.Decoder(HandLabel)
