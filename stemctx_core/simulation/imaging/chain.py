"""A chain of imaging steps: validated, ordered by stage, recorded as JSON and rebuilt from it."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError
from stemctx_core.simulation.imaging.detection import (
    Afterglow,
    AmplitudeNoise,
    Gain,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Saturation,
    Spikes,
)
from stemctx_core.simulation.imaging.intensity import AmorphousCarbon, Contamination, EffectiveSource, Haze
from stemctx_core.simulation.imaging.motion import Drift, Flyback, LineJitter, Warp, shift_rows
from stemctx_core.simulation.imaging.scan import Images, Scan, Stage

Step = (
    Drift
    | Warp
    | Flyback
    | LineJitter
    | EffectiveSource
    | Haze
    | Contamination
    | AmorphousCarbon
    | AmplitudeNoise
    | Afterglow
    | PixelCorrelation
    | Spikes
    | ReadoutNoise
    | Saturation
    | Gain
    | Quantisation
)


class ImagingChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a microscope does to a frame, from the moving specimen to the numbers in the file.

    Steps act in the order of their stages, and within a stage in the order given; Poisson counting stands between
    the beam's stage and the signal's. No step may be there twice.

    Attributes
    ----------
    steps
        Imperfections; none of them leaves Poisson noise alone.

    Raises
    ------
    InputError
        A step that is there twice, or a converter without a gain before it.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        names = [type(step).__name__ for step in self.steps]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"The imaging chain holds {', '.join(twice)} more than once. Keep one of each.")
        readout = [name for name, step in zip(names, self.steps, strict=True) if step.stage is Stage.READOUT]
        if "Quantisation" in readout and readout != ["Gain", "Quantisation"]:
            raise InputError(
                "Quantisation counts shares of a range: put a Gain before it in the imaging chain."
            )

    @classmethod
    def pristine(cls) -> ImagingChain:
        """Poisson noise and nothing else."""
        return cls()

    @classmethod
    def typical(cls) -> ImagingChain:
        """A good frame of an aberration-corrected microscope, with the magnitudes that measured frames have."""
        return cls(
            (
                Drift(), Warp(), Flyback(0.6, 12.0), LineJitter(),
                EffectiveSource(), Haze(), Contamination(height=0.1, size_angstrom=60.0),
                AmplitudeNoise(), Afterglow(0.08, 1.0), PixelCorrelation(0.2), ReadoutNoise(), Gain(), Quantisation(),
            )
        )  # fmt: skip

    @classmethod
    def difficult(cls) -> ImagingChain:
        """The worst of what is met, all at once: for what must not break, not for what must be right."""
        return cls(
            (
                Drift((6.0, -4.0)), Warp(0.9, 150.0), Flyback(2.5, 25.0), LineJitter((0.05, 0.15), 0.6),
                EffectiveSource(0.30, 0.08, 0.6, 0.2, 0.8, 2.2), Haze(0.3, 0.6, 0.8),
                Contamination(0.4, 60.0, 0.3), AmorphousCarbon(0.1, 0.3),
                AmplitudeNoise(0.08, 0.07, 0.2), Afterglow(0.15, 2.0), PixelCorrelation(0.4), Spikes(),
                ReadoutNoise(0.05), Saturation(2.2), Gain(0.10, 0.40), Quantisation(12),
            )
        )  # fmt: skip

    def _of(self, *stages: Stage) -> list[Step]:
        return [step for stage in stages for step in self.steps if step.stage is stage]

    def displaced(self, positions_px: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
        """(n, 2) where columns appear, y, x, after slow motion.

        Displacements are small beside the distance over which they change and are added up.
        """
        moved = positions_px.copy()
        for step in self._of(Stage.POSITION):
            if not isinstance(step, LineJitter):
                moved += step.displacement_px(positions_px, scan)  # type: ignore[union-attr]
        return moved

    def reach_px(self, scan: Scan) -> float:
        """How far from its place at most a column appears in this frame, for what has to be there beyond its edges."""
        y, x = (np.linspace(0, n - 1, 33) for n in scan.shape)
        frame = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
        moved = float(np.abs(self.displaced(frame, scan) - frame).max())
        jitter = [step.row_offset_px(scan) for step in self.steps if isinstance(step, LineJitter)]
        return moved + float(np.abs(jitter).max() if jitter else 0.0)

    def intensities(self, fractions: Images, scan: Scan) -> Images:
        """Noiseless intensities of all detectors as they reach them, beam fluctuations included.

        Parameters
        ----------
        fractions
            (detectors, height, width) fractions of the beam, rendered at `displaced` positions.
        """
        images = fractions
        for step in self._of(Stage.POSITION):
            if isinstance(step, LineJitter):
                images = shift_rows(images, step.row_offset_px(scan))
        for step in self._of(Stage.INTENSITY, Stage.BEAM):
            images = step.apply(images, scan)  # type: ignore[union-attr]
        return images

    def detected(self, intensities: Images, scan: Scan) -> NDArray[np.float32] | NDArray[np.uint16]:
        """Count electrons and read them out.

        Returns
        -------
        numpy.ndarray
            (detectors, height, width): float32 electrons a pixel, float32 shares of the range where the chain ends
            with a gain, uint16 where it ends with a converter.

        Raises
        ------
        InputError
            A dose that is not a positive number.
        """
        check_dose(scan.dose_e_per_angstrom2)
        images = np.empty_like(intensities)
        for d, image in enumerate(intensities):
            images[d] = scan.rng("Poisson", d).poisson(np.clip(image, 0, None) * scan.electrons_per_pixel)
        for step in self._of(Stage.SIGNAL, Stage.READOUT):
            if isinstance(step, Quantisation):
                return step.quantised(images)
            images = step.apply(images, scan)  # type: ignore[union-attr]
        return images


def check_dose(dose_e_per_angstrom2: float) -> None:
    """Raise `InputError` for a dose that is not a positive, finite number."""
    if not (np.isfinite(dose_e_per_angstrom2) and 0 < dose_e_per_angstrom2 < 1e12):
        raise InputError(
            f"A dose of {dose_e_per_angstrom2:g} e/Å² cannot be counted. Give a positive number such as 1e4."
        )
