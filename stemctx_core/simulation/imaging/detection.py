"""Counting and detection: fluctuations of the beam before electrons are counted, the detectors' signal after it.

Steps of the signal stage act on electrons a pixel; those of the readout stage make numbers of a converter of them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from stemctx_core.simulation.imaging.scan import Images, ImagingStep, Scan, Stage, check

#: Standard deviation of the area over which a column's amplitude is averaged when it is fitted.
COLUMN_FOOTPRINT_ANGSTROM = 0.5
#: Distance of neighbouring columns for which correlations are stated: a mean lattice constant.
NEIGHBOUR_ANGSTROM = 3.3


class AmplitudeNoise(ImagingStep, frozen=True):
    """Intensity fluctuates beyond counting noise: one part is the same for all detectors, one is each detector's own.

    A multiplicative field whose mean over a column's footprint has the stated standard deviation. Measured on
    frames of two detectors: common part 0.065 to 0.08 of a column's amplitude, own part 0.05 to 0.075,
    correlation of neighbours along the fast axis about 0.2.

    Attributes
    ----------
    common, independent
        Standard deviation of a column's amplitude by either part.
    fast_correlation
        Of columns 3.3 Å apart along the fast axis.
    slow_angstrom
        How far the fluctuation reaches along the slow axis (standard deviation).
    """

    stage: ClassVar[Stage] = Stage.BEAM
    common: float = 0.07
    independent: float = 0.06
    fast_correlation: float = 0.2
    slow_angstrom: float = 0.3

    def __post_init__(self) -> None:
        check(
            self,
            common=(0, 0.5),
            independent=(0, 0.5),
            fast_correlation=(0.0001, 0.98),
            slow_angstrom=(0.05, 50),
        )

    def field(self, rng: np.random.Generator, scan: Scan) -> NDArray[np.float32]:
        """Gaussian field whose mean over a column's footprint has unit variance and the stated correlation.

        White noise smoothed by σ has the variance 1/(4π σ_y σ_x); smoothing of a footprint adds to σ in quadrature,
        and means Δ apart then correlate as exp(-Δ²/4σ_x²).
        """
        total_fast = NEIGHBOUR_ANGSTROM / (2 * np.sqrt(np.log(1 / self.fast_correlation)))
        fast = np.sqrt(max(total_fast**2 - COLUMN_FOOTPRINT_ANGSTROM**2, 1e-4))
        seen = np.hypot([self.slow_angstrom, fast], COLUMN_FOOTPRINT_ANGSTROM) / scan.pixel_size_angstrom
        sigma_px = (self.slow_angstrom / scan.pixel_size_angstrom, fast / scan.pixel_size_angstrom)
        white = rng.standard_normal(scan.shape, np.float32)
        smooth = gaussian_filter(white, sigma_px, mode="wrap")
        scaled: NDArray[np.float32] = smooth * np.float32(np.sqrt(4 * np.pi * seen[0] * seen[1]))
        return scaled

    def apply(self, images: Images, scan: Scan) -> Images:
        """Multiply each image with 1 + common field + its own field."""
        factor = np.ones_like(images)
        if self.common:
            factor += np.float32(self.common) * self.field(scan.rng("AmplitudeNoise"), scan)
        if self.independent:
            for d in range(len(images)):
                own = self.field(scan.rng("AmplitudeNoise", d + 1), scan)
                factor[d] += np.float32(self.independent) * own
        return images * np.clip(factor, 0, None)


class Afterglow(ImagingStep, frozen=True):
    """The scintillator goes on glowing: a tail along the scan, running on into the next line.

    Attributes
    ----------
    share
        Of the light, how much comes late.
    decay_px
        Dwell times over which the tail falls to 1/e.
    """

    stage: ClassVar[Stage] = Stage.SIGNAL
    share: float = 0.15
    decay_px: float = 2.0

    def __post_init__(self) -> None:
        check(self, share=(0, 0.95), decay_px=(0.05, 1e5))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Spread each pixel's light over those scanned after it; the total is kept."""
        kept = np.exp(-1.0 / self.decay_px)
        late = lfilter([1 - kept], [1.0, -kept], images.reshape(len(images), -1), axis=1)
        glowing: Images = images * np.float32(1 - self.share)
        glowing += np.float32(self.share) * late.reshape(images.shape).astype(np.float32)
        return glowing


class PixelCorrelation(ImagingStep, frozen=True):
    """The amplifier's bandwidth mixes neighbouring pixels of a line.

    Attributes
    ----------
    correlation
        Of the noise of one pixel with the next; 0.15 to 0.4 in measured frames.
    """

    stage: ClassVar[Stage] = Stage.SIGNAL
    correlation: float = 0.25

    def __post_init__(self) -> None:
        check(self, correlation=(0, 0.5))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Mix each pixel with the one before it: (x_i + c x_{i-1})/(1 + c), whose correlation is c/(1 + c²)."""
        rho = self.correlation
        c = np.float32((1 - np.sqrt(1 - 4 * rho**2)) / (2 * rho)) if rho else np.float32(0)
        mixed = images.copy()
        mixed[:, :, 1:] += c * images[:, :, :-1]
        mixed[:, :, 0] += c * images[:, :, 0]
        mixed /= 1 + c
        return mixed


class Spikes(ImagingStep, frozen=True):
    """Single bright pixels: X-rays and cosmic rays in the detector.

    Attributes
    ----------
    rate
        Share of the pixels that are hit.
    height
        Mean of what a hit adds, in units of the host's brighter column; exponentially distributed.
    """

    stage: ClassVar[Stage] = Stage.SIGNAL
    rate: float = 2e-4
    height: float = 1.0

    def __post_init__(self) -> None:
        check(self, rate=(0, 0.1), height=(0, 1e3))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Add the hits, each in one detector."""
        out = images.copy()
        for d in range(len(images)):
            rng = scan.rng("Spikes", d)
            hit = rng.integers(0, out[d].size, rng.poisson(self.rate * out[d].size))
            bright = self.height * scan.reference[d] * scan.electrons_per_pixel
            np.add.at(out[d].reshape(-1), hit, rng.exponential(bright, len(hit)).astype(np.float32))
        return out


class ReadoutNoise(ImagingStep, frozen=True):
    """White noise of the amplifier.

    Attributes
    ----------
    sd
        In units of the host's brighter column.
    """

    stage: ClassVar[Stage] = Stage.SIGNAL
    sd: float = 0.02

    def __post_init__(self) -> None:
        check(self, sd=(0, 10))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Add the noise."""
        out = images.copy()
        for d in range(len(images)):
            bright = self.sd * scan.reference[d] * scan.electrons_per_pixel
            out[d] += np.float32(bright) * scan.rng("ReadoutNoise", d).standard_normal(scan.shape, np.float32)
        return out


class Saturation(ImagingStep, frozen=True):
    """The amplifier gives no more than this.

    Attributes
    ----------
    level
        In units of the host's brighter column.
    """

    stage: ClassVar[Stage] = Stage.SIGNAL
    level: float = 1.0

    def __post_init__(self) -> None:
        check(self, level=(0.01, 1e3))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Clip."""
        top = self.level * scan.reference_column * np.float32(scan.electrons_per_pixel)
        clipped: Images = np.minimum(images, top)
        return clipped


class Gain(ImagingStep, frozen=True):
    """Brightness and contrast as an operator sets them: signal to a share of the converter's range.

    Attributes
    ----------
    black
        Where no electron lands; black levels of up to 20 times the signal of a column are met.
    column
        What the host's brighter column adds to it.
    imbalance
        The second detector's gain over what these would give.
    """

    stage: ClassVar[Stage] = Stage.READOUT
    black: float = 0.05
    column: float = 0.35
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        check(self, black=(-1, 1), column=(1e-4, 10), imbalance=(0.01, 100))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Electrons to shares of the range."""
        each = np.array([self.column * (self.imbalance if d else 1.0) for d in range(len(images))], np.float32)
        one_column = scan.reference_column * np.float32(scan.electrons_per_pixel)
        return np.float32(self.black) + images * (each[:, None, None] / one_column)


class Quantisation(ImagingStep, frozen=True):
    """An analogue-to-digital converter: whole numbers, and nothing beyond its range.

    Attributes
    ----------
    bits
        Of the converter, up to 16.
    """

    stage: ClassVar[Stage] = Stage.READOUT
    bits: int = 16

    def __post_init__(self) -> None:
        check(self, bits=(1, 16))

    def quantised(self, images: Images) -> NDArray[np.uint16]:
        """Shares of the range to uint16 numbers from 0 to 2^bits - 1."""
        top = 2**self.bits - 1
        numbers: NDArray[np.uint16] = np.clip(np.rint(images * np.float32(top)), 0, top).astype(np.uint16)
        return numbers
