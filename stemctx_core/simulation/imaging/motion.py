"""Where a column appears while the specimen and the beam move: drift, warp, flyback, jitter of scan lines.

Slow motion displaces columns before they are rendered, so that positions in a label are where columns appear. The
jitter of lines is faster than a column is wide: it moves the rows of the rendered intensity, and labels stand where
columns appear on average.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from stemctx_core.simulation.imaging.scan import Images, ImagingStep, Scan, Stage, check


class Drift(ImagingStep, frozen=True):
    """The specimen moves steadily while the frame is scanned.

    Attributes
    ----------
    angstrom_per_frame
        How far along y and x from the first row to the last. A point scanned at the first row stays where it is.
    """

    stage: ClassVar[Stage] = Stage.POSITION
    angstrom_per_frame: tuple[float, float] = (2.0, 1.0)

    def __post_init__(self) -> None:
        check(self, angstrom_per_frame=(-200.0, 200.0))

    def displacement_px(self, positions_px: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
        """(n, 2) how far each column appears from where it stood when the frame began.

        The row y in which it is met solves y = y₀ + d·y/height.
        """
        velocity = np.array(self.angstrom_per_frame) / scan.pixel_size_angstrom / scan.shape[0]
        met = positions_px[:, :1] / (1 - min(velocity[0], 0.9))
        moved: NDArray[np.float64] = met * velocity
        return moved


class Warp(ImagingStep, frozen=True):
    """Slow, smooth wandering of the specimen and the scan: a sum of waves of random phase and direction.

    Attributes
    ----------
    rms_angstrom
        Displacement along each axis (standard deviation over the frame).
    period_angstrom
        Typical wavelength.
    """

    stage: ClassVar[Stage] = Stage.POSITION
    rms_angstrom: float = 0.4
    period_angstrom: float = 200.0

    def __post_init__(self) -> None:
        check(self, rms_angstrom=(0, 20), period_angstrom=(20, 1e4))

    def displacement_px(self, positions_px: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
        """(n, 2) y, x."""
        rng = scan.rng("Warp")
        waves = 6
        azimuth, phase = rng.uniform(0, 2 * np.pi, waves), rng.uniform(0, 2 * np.pi, (2, waves))
        number = 2 * np.pi / (self.period_angstrom * rng.uniform(0.7, 1.6, waves))
        along = positions_px * scan.pixel_size_angstrom @ np.stack([np.sin(azimuth), np.cos(azimuth)])
        angle = (along * number)[:, None, :] + phase[None]
        moved: NDArray[np.float64] = np.sin(angle).sum(axis=2) * np.sqrt(2 / waves)
        return moved * (self.rms_angstrom / scan.pixel_size_angstrom)


class Flyback(ImagingStep, frozen=True):
    """The beam has not caught up with the scan where a line begins: columns there are pulled to the left.

    Attributes
    ----------
    amplitude_angstrom
        How far the beam is behind at the first pixel; columns appear that much further left.
    settling_px
        Over how many pixels this falls to 1/e.
    """

    stage: ClassVar[Stage] = Stage.POSITION
    amplitude_angstrom: float = 1.5
    settling_px: float = 20.0

    def __post_init__(self) -> None:
        check(self, amplitude_angstrom=(-50, 50), settling_px=(1, 1e4))

    def displacement_px(self, positions_px: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
        """(n, 2) y, x."""
        x = positions_px[:, 1]
        late = np.exp(-np.clip(x, 0, None) / self.settling_px)
        moved = np.zeros_like(positions_px)
        moved[:, 1] = -self.amplitude_angstrom / scan.pixel_size_angstrom * late
        return moved


class LineJitter(ImagingStep, frozen=True):
    """Every scan line is a little off, by stray fields and mechanical noise.

    Attributes
    ----------
    rms_angstrom
        Standard deviation along y and x.
    correlation
        Of one line with the next.
    """

    stage: ClassVar[Stage] = Stage.POSITION
    rms_angstrom: tuple[float, float] = (0.03, 0.08)
    correlation: float = 0.5

    def __post_init__(self) -> None:
        check(self, rms_angstrom=(0, 3), correlation=(0, 0.999))

    def row_offset_px(self, scan: Scan) -> NDArray[np.float64]:
        """(height, 2) how far along y and x each line appears moved."""
        rho = self.correlation
        white = scan.rng("LineJitter").normal(size=(scan.shape[0], 2))
        white[1:] *= np.sqrt(1 - rho**2)
        offset: NDArray[np.float64] = lfilter([1.0], [1.0, -rho], white, axis=0)
        offset *= np.array(self.rms_angstrom) / scan.pixel_size_angstrom
        return offset


def shift_rows(images: Images, offset_px: NDArray[np.float64]) -> Images:
    """Move each row of (detectors, height, width) images by its own offset along y and x.

    Cubic (Catmull-Rom) interpolation, which is exact to 1 % of a column's peak for columns four pixels wide.
    """
    moved = images
    for axis in (0, 1):
        if np.any(offset_px[:, axis]):
            moved = _shifted(moved, offset_px[:, axis], axis)
    return moved


def _shifted(images: Images, offset: NDArray[np.float64], axis: int) -> Images:
    height, width = images.shape[1:]
    reach = int(np.ceil(np.abs(offset).max())) + 2
    whole = np.floor(-offset).astype(np.int64)
    share = -offset - whole
    weights = _catmull_rom(share).astype(np.float32)
    rows, columns = np.arange(height), np.arange(width)
    out = np.zeros_like(images)
    if axis == 0:
        for k in range(4):
            source = np.clip(rows + whole + k - 1, 0, height - 1)
            out += images[:, source] * weights[k][None, :, None]
        return out
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach)), mode="edge")
    for k in range(4):
        source = (whole + k - 1 + reach)[:, None] + columns[None]
        out += np.take_along_axis(padded, source[None], axis=2) * weights[k][None, :, None]
    return out


def _catmull_rom(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, n) weights of the samples at -1, 0, 1 and 2 for a place t between 0 and 1."""
    return 0.5 * np.stack(
        [
            -(t**3) + 2 * t**2 - t,
            3 * t**3 - 5 * t**2 + 2,
            -3 * t**3 + 4 * t**2 + t,
            t**3 - t**2,
        ]
    )
