"""What the steps of an imaging chain share: the frame they act on, their order, and a check of their numbers."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError

Images = NDArray[np.float32]


class Stage(IntEnum):
    """When a step acts: on positions in time, on what reaches the detectors, on what is counted and read out."""

    POSITION = 0
    INTENSITY = 1
    BEAM = 2
    SIGNAL = 3
    READOUT = 4


@dataclass(frozen=True)
class Scan:
    """The frame that a chain acts on.

    Attributes
    ----------
    shape
        Height and width in pixels.
    pixel_size_angstrom
        Square pixels.
    reference
        (detectors,) peak of the host's brighter column, as a fraction of the beam.
    dose_e_per_angstrom2
        Electrons that arrive per area.
    seed
        Every step draws from a stream of its own, made of this and the step's name.
    covered
        `shape` float32 share of each pixel that has specimen under it, or None where all have.
    """

    shape: tuple[int, int]
    pixel_size_angstrom: float
    reference: tuple[float, ...]
    dose_e_per_angstrom2: float
    seed: int
    covered: NDArray[np.float32] | None = None

    @property
    def electrons_per_pixel(self) -> float:
        """What the whole beam would count in a pixel."""
        return self.dose_e_per_angstrom2 * self.pixel_size_angstrom**2

    @property
    def reference_column(self) -> NDArray[np.float32]:
        """(detectors, 1, 1) `reference`, ready to be multiplied with images."""
        return np.array(self.reference, np.float32)[:, None, None]

    def rng(self, name: str, number: int = 0) -> np.random.Generator:
        """Stream of a step: the noise of one does not change when another joins the chain."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])


class ImagingStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """One imperfection with its magnitudes; a chain of them is written to JSON and read back.

    Steps of the position stage implement `displacement_px` or `row_offset_px`, all others `apply`.
    """

    stage: ClassVar[Stage]


def check(step: ImagingStep, **ranges: tuple[float, float]) -> None:
    """Raise `InputError` that names the step, the parameter and what it may be, for values out of range.

    Parameters
    ----------
    step
        Whose parameters are checked; a parameter may be a tuple of numbers.
    ranges
        Name to smallest and largest allowed value.
    """
    for name, (low, high) in ranges.items():
        value: Any = getattr(step, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not (math.isfinite(number) and low <= number <= high):
                raise InputError(
                    f"{type(step).__name__}: {name} is {number:g}. Give a number from {low:g} to {high:g}."
                )
