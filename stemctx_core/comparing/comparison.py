"""A simulated frame beside a measured one: the gap, what closes it, and the gap that is left."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FITTING_RATIO
from stemctx_core.comparing.fitting import Fit, fit, simulated
from stemctx_core.comparing.gap import Gap, gap
from stemctx_core.comparing.host_summary import HostSummary, host_summary
from stemctx_core.comparing.knobs import declared_knobs, recipe_of
from stemctx_core.comparing.permutation import Distance
from stemctx_core.comparing.shares import NoiseShares, noise_shares
from stemctx_core.comparing.views import FrameView, frame_view
from stemctx_core.context import ImagingContext, Missing
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.simulation.library import ResponseLibrary

#: What each distance is, in words.
DISTANCES = {
    "contrast": "contrast of the pixels",
    "metal": "metal columns",
    "chalcogen": "chalcogen columns",
    "noise": "noise spectrum",
    "frechet": "features, Fréchet",
    "kernel": "classifier's evidence, kernel",
}


@dataclass(frozen=True)
class Comparison:
    """Two frames compared.

    Attributes
    ----------
    simulated, measured
        The frames.
    before, after
        Gap to the simulation as it came, and to the fitted one; None where nothing was fitted.
    fitted
        A simulation with the host's columns of the measured frame.
    shares
        Of the amplitude noise, where a second detector of the scan was given.
    warnings
        What was declared and does not fit, in words.
    """

    simulated: FrameView
    measured: FrameView
    before: Gap
    after: Gap | None
    fitted: Fit | None
    shares: NoiseShares | None
    warnings: tuple[str, ...]

    @property
    def summaries(self) -> dict[str, HostSummary]:
        """The numbers of each frame's host."""
        found = {"simulated": host_summary(self.simulated), "measured": host_summary(self.measured)}
        return found | ({"fitted": self.fitted.summary} if self.fitted else {})


@dataclass(frozen=True)
class Frames:
    """What is compared.

    Attributes
    ----------
    measured, simulated
        Images; where the second is None, one is simulated with what the context says and typical values for the rest.
    context
        Of both.
    other_detector, other_context
        A second image of the measured scan.
    """

    measured: NDArray[Any]
    context: ImagingContext
    simulated: NDArray[Any] | None = None
    other_detector: NDArray[Any] | None = None
    other_context: ImagingContext | None = None


def compare(library: ResponseLibrary, frames: Frames, close: bool = True, seed: int = 0) -> Comparison:
    """Compare two frames, and fit a simulation to the measured one.

    Parameters
    ----------
    close
        Whether to fit.
    seed
        Of the simulated frames and the permutations.

    Raises
    ------
    FrameError, LibraryError, InputError
        Why a frame cannot be measured.
    """
    lattice, warnings = _host(library, frames.measured, frames.context)
    measured = frame_view(library, lattice)
    if frames.simulated is None:
        made = simulated(
            library, recipe_of(declared_knobs(lattice, frames.context), lattice), lattice, seed + 1000
        )
    else:
        context = msgspec.structs.replace(frames.context, pixel_size_angstrom=Missing("left to the lattice"))
        made = frame_view(library, host_lattice(library, frames.simulated, context))
    before = gap(made, measured, seed)
    shares = None
    if frames.other_detector is not None:
        other, _ = _host(library, frames.other_detector, frames.other_context or frames.context)
        shares = noise_shares(measured, frame_view(library, other))
    fitted = fit(library, measured, seed) if close else None
    after = gap(fitted.view, measured, seed) if fitted else None
    return Comparison(made, measured, before, after, fitted, shares, tuple(warnings))


def _host(
    library: ResponseLibrary, image: NDArray[Any], context: ImagingContext
) -> tuple[HostLattice, list[str]]:
    """Measured by the declared angles where these fit, else by none."""
    lattice = host_lattice(library, image, context)
    if lattice.known.missing or FITTING_RATIO[0] < lattice.calibration.ratio < FITTING_RATIO[1]:
        return lattice, []
    expected, unknown = lattice.calibration.expected_ratio, Missing("the declared angles do not fit the frame")
    again = host_lattice(
        library, image, msgspec.structs.replace(context, inner_mrad=unknown, outer_mrad=unknown)
    )
    words = (
        f"The declared detector angles do not fit: X2/M is {again.ratio:.2f} in the frame, {expected:.2f} is expected. "
        "'stemctx estimate' says which do."
    )
    return again, [words]


def as_json(found: Comparison) -> dict[str, Any]:
    """Everything that was found, of types that JSON has."""
    told: dict[str, Any] = {
        "host": found.measured.lattice.host.name,
        "warnings": found.warnings,
        "columns": {
            "simulated": len(found.simulated.lattice.features),
            "measured": len(found.measured.lattice.features),
        },
        "summaries": msgspec.to_builtins(_plain(found.summaries)),
        "gap_before": _gap(found.before),
    }
    if found.fitted is not None and found.after is not None:
        told["gap_after"] = _gap(found.after)
        told["knobs"] = _plain({"": found.fitted.knobs})[""]
        told["recipe"] = msgspec.to_builtins(found.fitted.recipe, enc_hook=float)
    if found.shares is not None:
        told["noise_shares"] = {f.name: getattr(found.shares, f.name) for f in fields(found.shares)}
    return told


def _plain(structs: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        name: {k: float(np.float64(getattr(s, k))) for k in s.__struct_fields__} for name, s in structs.items()
    }


def _gap(found: Gap) -> dict[str, dict[str, float]]:
    def one(distance: Distance) -> dict[str, float]:
        return {"value": distance.value, "by_chance": distance.by_chance, "p": distance.p}

    return {name: one(getattr(found, name)) for name in DISTANCES}
