"""What changes the noiseless intensity of all detectors: the shape of the source, and matter beside the crystal.

Heights of fields are given in units of the host's brighter column, the same for every detector of a scan.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from stemctx_core.simulation.imaging.scan import Images, ImagingStep, Scan, Stage, check


class EffectiveSource(ImagingStep, frozen=True):
    """A source, or a probe, that is not round: what is blurred besides the round part that the columns hold.

    The kernel is positive: an elliptic Gaussian, of which a share is smeared out to one side (coma). Its centre of mass
    is at zero, so that columns stay where they are. Measured mean cells of WSe2 fit a third better with such terms than
    with a round source alone.

    Attributes
    ----------
    major_angstrom, minor_angstrom
        Standard deviations along the azimuth and across it, added in quadrature to the round source.
    azimuth_rad
        From the x axis towards y.
    coma_share, coma_angstrom
        How much of the probe lies in the one-sided tail, and how far out the tail's centre is.
    coma_azimuth_rad
        Direction of the tail, from the x axis towards y.
    """

    stage: ClassVar[Stage] = Stage.INTENSITY
    major_angstrom: float = 0.22
    minor_angstrom: float = 0.05
    azimuth_rad: float = 0.6
    coma_share: float = 0.12
    coma_angstrom: float = 0.6
    coma_azimuth_rad: float = 2.2

    def __post_init__(self) -> None:
        check(
            self, major_angstrom=(0, 5), minor_angstrom=(0, 5), azimuth_rad=(-7, 7), coma_share=(0, 0.9),
            coma_angstrom=(0, 10), coma_azimuth_rad=(-7, 7),
        )  # fmt: skip

    def transfer(self, fy: NDArray[np.float32], fx: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Fourier transform of the kernel at spatial frequencies along y and x (1/Å)."""
        c, s = np.cos(self.azimuth_rad), np.sin(self.azimuth_rad)
        along, across = fx * c + fy * s, fy * c - fx * s
        ellipse = (self.major_angstrom * along) ** 2 + (self.minor_angstrom * across) ** 2
        tail_width = self.coma_angstrom / 2
        out = self.coma_angstrom * (fx * np.cos(self.coma_azimuth_rad) + fy * np.sin(self.coma_azimuth_rad))
        phase = np.exp(-2j * np.pi * out).astype(np.complex64)
        tail = phase * np.exp(-2 * np.pi**2 * tail_width**2 * (fx**2 + fy**2))
        share = self.coma_share
        centred = np.exp(2j * np.pi * share * out)
        kernel = np.exp(-2 * np.pi**2 * ellipse) * ((1 - share) + share * tail) * centred
        transfer: NDArray[np.complex64] = kernel.astype(np.complex64)
        return transfer

    def apply(self, images: Images, scan: Scan) -> Images:
        """Blur every detector's image with the kernel, mirrored beyond the frame's edges."""
        px = scan.pixel_size_angstrom
        reach = (
            int(np.ceil((4 * max(self.major_angstrom, self.minor_angstrom) + 2 * self.coma_angstrom) / px)) + 1
        )
        height, width = (fft.next_fast_len(n + 2 * reach, real=True) for n in scan.shape)
        below, right = height - scan.shape[0] - reach, width - scan.shape[1] - reach
        padded = np.pad(images, ((0, 0), (reach, below), (reach, right)), mode="symmetric")
        fy = fft.fftfreq(height, px).astype(np.float32)[:, None]
        fx = fft.rfftfreq(width, px).astype(np.float32)[None]
        spectrum = fft.rfft2(padded) * self.transfer(fy, fx)
        blurred: Images = fft.irfft2(spectrum, s=(height, width)).astype(np.float32)
        return np.ascontiguousarray(blurred[:, reach : reach + scan.shape[0], reach : reach + scan.shape[1]])


class Haze(ImagingStep, frozen=True):
    """A flat signal under everything: scattering by the support or by a thick adsorbate.

    Attributes
    ----------
    level
        In units of the host's brighter column; up to 1 in measured frames.
    slope
        Change from one side of the frame to the other, as a share of the level.
    azimuth_rad
        Direction in which it rises.
    """

    stage: ClassVar[Stage] = Stage.INTENSITY
    level: float = 0.1
    slope: float = 0.3
    azimuth_rad: float = 0.8

    def __post_init__(self) -> None:
        check(self, level=(0, 20), slope=(-2, 2), azimuth_rad=(-7, 7))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Add the haze."""
        y, x = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in scan.shape)
        ramp = y[:, None] * np.float32(np.sin(self.azimuth_rad)) + x[None] * np.float32(
            np.cos(self.azimuth_rad)
        )
        field = np.float32(self.level) * (1 + np.float32(self.slope) * ramp)
        hazy: Images = images + np.clip(field, 0, None)[None] * scan.reference_column
        return hazy


class Contamination(ImagingStep, frozen=True):
    """Smooth patches of hydrocarbon on the crystal.

    Attributes
    ----------
    height
        Of a typical patch, in units of the host's brighter column. Sites are worth masking from 0.2 upwards.
    size_angstrom
        Across a patch.
    coverage
        Share of the frame that is covered.
    """

    stage: ClassVar[Stage] = Stage.INTENSITY
    height: float = 0.25
    size_angstrom: float = 35.0
    coverage: float = 0.35

    def __post_init__(self) -> None:
        check(self, height=(0, 20), size_angstrom=(3, 1e4), coverage=(0.01, 1))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Add the patches where there is specimen under them."""
        rng = scan.rng("Contamination")
        field = _smooth_noise(rng, scan.shape, self.size_angstrom / 2.5 / scan.pixel_size_angstrom)
        above = np.clip(field - np.quantile(field, 1 - self.coverage), 0, None)
        typical = above[above > 0].mean() if np.any(above > 0) else 1.0
        patches = (np.float32(self.height / typical) * above).astype(np.float32)
        if scan.covered is not None:
            patches = patches * scan.covered
        dirty: Images = images + patches[None] * scan.reference_column
        return dirty


class AmorphousCarbon(ImagingStep, frozen=True):
    """A film of amorphous carbon on the crystal: grainy at the size of the probe, the same film for every detector.

    Attributes
    ----------
    level
        Mean, in units of the host's brighter column.
    grain
        Standard deviation over the mean.
    size_angstrom
        Standard deviation of a grain: a light atom seen by the probe.
    """

    stage: ClassVar[Stage] = Stage.INTENSITY
    level: float = 0.08
    grain: float = 0.3
    size_angstrom: float = 0.7

    def __post_init__(self) -> None:
        check(self, level=(0, 20), grain=(0, 2), size_angstrom=(0.2, 20))

    def apply(self, images: Images, scan: Scan) -> Images:
        """Add the film where there is specimen under it."""
        rng = scan.rng("AmorphousCarbon")
        white = rng.standard_normal(scan.shape, np.float32)
        grains = gaussian_filter(white, self.size_angstrom / scan.pixel_size_angstrom, mode="reflect")
        film = np.float32(self.level) * np.clip(1 + np.float32(self.grain) * grains / grains.std(), 0, None)
        if scan.covered is not None:
            film = film * scan.covered
        under: Images = images + film[None] * scan.reference_column
        return under


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian noise of unit variance, smooth over `sigma_px`; drawn coarsely and interpolated where that is many pixels."""
    step = max(1, int(sigma_px / 4))
    margin = 4 * int(np.ceil(sigma_px / step))
    coarse = (int(np.ceil(shape[0] / step)) + 2 * margin, int(np.ceil(shape[1] / step)) + 2 * margin)
    white = rng.standard_normal(coarse, np.float32)
    smooth = gaussian_filter(white, sigma_px / step)[margin:-margin, margin:-margin]
    y, x = (np.minimum(np.arange(n) / step, m - 1.001) for n, m in zip(shape, smooth.shape, strict=True))
    rows = _interpolated(smooth, y)
    field = _interpolated(rows.T, x).T
    unit: NDArray[np.float32] = (field / max(float(field.std()), 1e-9)).astype(np.float32)
    return unit


def _interpolated(values: NDArray[np.float32], where: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation along the first axis."""
    cell = where.astype(np.int64)
    share = (where - cell).astype(np.float32)[:, None]
    mixed: NDArray[np.float32] = (
        values[cell] * (1 - share) + values[np.minimum(cell + 1, len(values) - 1)] * share
    )
    return mixed
