"""The energies and angles that a model was trained on: between them it may be asked, beyond them a frame is refused.

The response library answers for more than any model was trained on, and a model that extrapolates does not say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from stemctx_core.errors import BundleError, FrameError
from stemctx_core.scene import Missing
from stemctx_core.simulation.answerable import CONVERGENCE_TOLERANCE_MRAD
from stemctx_core.simulation.library import ENERGY_TOLERANCE
from stemctx_core.simulation.optics import Optics

#: How far beyond its trained detectors a model is still asked: one ring of the library, all that angles are known to.
DETECTOR_TOLERANCE_MRAD: Final = 5.0
Span = tuple[float, float]


@dataclass(frozen=True)
class TrainedRanges:
    """Smallest and largest of each quantity that a model was trained on.

    Attributes
    ----------
    high_tension_kv
        From the lowest to the highest energy; those between are interpolated.
    convergence_semi_angle_mrad, inner_mrad, detector_width_mrad
        Angles; the width is the outer angle less the inner one.
    """

    high_tension_kv: Span
    convergence_semi_angle_mrad: Span
    inner_mrad: Span
    detector_width_mrad: Span

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> TrainedRanges:
        """What a bundle's card says under ``training``.

        Raises
        ------
        BundleError
            Where it does not say it.
        """
        try:
            training = card["training"]
            energies = [float(kv) for kv in training["high_tensions_kv"]]
            low_high = {name: _span(training["ranges"][name]) for name in _ANGLES}
            return cls((min(energies), max(energies)), **low_high)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"The model's card does not say what energies and angles it was trained on ({error}). "
                "Use a bundle as exported by 'stemctx train'."
            ) from error

    def check(self, optics: Optics, missing: frozenset[Missing] = frozenset()) -> None:
        """Refuse optics that the model was not trained on.

        Parameters
        ----------
        optics
            As declared.
        missing
            What of them was not declared, and is not looked at.

        Raises
        ------
        FrameError
            ``outside_training``, with what is outside and of which range.
        """
        kv, width = optics.high_tension_kv, optics.outer_mrad - optics.inner_mrad
        angle, near = optics.convergence_semi_angle_mrad, DETECTOR_TOLERANCE_MRAD
        asked = [
            (Missing.HIGH_TENSION, "beam energy", kv, "kV", self.high_tension_kv, ENERGY_TOLERANCE * kv),
            (Missing.DETECTOR, "inner angle", optics.inner_mrad, "mrad", self.inner_mrad, near),
            (Missing.DETECTOR, "outer less inner angle", width, "mrad", self.detector_width_mrad, near),
            (
                Missing.CONVERGENCE,
                "convergence angle",
                angle,
                "mrad",
                self.convergence_semi_angle_mrad,
                CONVERGENCE_TOLERANCE_MRAD,
            ),
        ]
        outside = [
            f"{name} {value:g} {unit} (trained on {low:g} to {high:g} {unit})"
            for part, name, value, unit, (low, high), tolerance in asked
            if part not in missing and not low - tolerance <= value <= high + tolerance
        ]
        if outside:
            raise FrameError(
                "outside_training",
                f"The model was not trained on these conditions: {'; '.join(outside)}.",
                "Correct the imaging context where it is not what was set on the microscope; else record the frame "
                "within these ranges, or give the bundle of a model that was trained on yours.",
            )


_ANGLES: Final = ("convergence_semi_angle_mrad", "inner_mrad", "detector_width_mrad")


def _span(values: list[float]) -> Span:
    low, high = (float(v) for v in values)
    return low, high
