"""Values that a frame offers for its own context, each with an interval and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stemctx_core.calibration.calibrate import FITTING_RATIO
from stemctx_core.calibration.frame_checks import PIXEL_SIZE_TOLD
from stemctx_core.context import ImagingContext, Known, Missing, declared_angles
from stemctx_core.encoding.knowledge import typical
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.estimating.quantities import Quantities, measured
from stemctx_core.estimating.rehearsal import Rehearsals, rehearse, witnesses
from stemctx_core.estimating.ridge import Ridge, find_ridge
from stemctx_core.simulation.library import ResponseLibrary

#: Nominal coverage of every interval.
LEVEL: Final = 0.9
REHEARSALS: Final = 40
#: Relative error of a frame's X2/M, about.
_ROUGH_SD: Final = 0.02
#: Place of the dose in `Quantities`.
_DOSE: Final = 2


@dataclass(frozen=True)
class Interval:
    """An estimate with its 90 % interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies within."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Offers:
    """What a frame offers for its context.

    Attributes
    ----------
    lattice
        The host's columns that it rests on.
    ratio, sigma_angstrom, dose_e_per_angstrom2, pixel_size_angstrom
        X2/M, effective source, dose and pixel size.
    ridge
        Inner and outer angles that the ratio allows; which of them cannot be told from a frame.
    angles_mrad
        A point of the ridge, as near to what was declared (or to what is typical) as there is; None where no
        angles give the ratio.
    rehearsals
        How many simulated frames the intervals rest on.
    objections
        What was declared and does not fit, in words.
    """

    lattice: HostLattice
    ratio: Interval
    sigma_angstrom: Interval
    dose_e_per_angstrom2: Interval
    pixel_size_angstrom: Interval
    ridge: Ridge
    angles_mrad: tuple[float, float] | None
    rehearsals: int
    objections: tuple[str, ...]


def offers(
    library: ResponseLibrary,
    image: NDArray[Any],
    context: ImagingContext,
    rehearsals: int = REHEARSALS,
    seed: int = 0,
) -> Offers:
    """Estimate what a frame says of its context.

    Parameters
    ----------
    image
        (height, width) intensities of any real type.
    context
        What is known; at least the host, and for meaningful angles the energy. A pixel size serves to find the
        lattice, and is compared with the one offered.
    rehearsals
        Simulated frames for the intervals.
    seed
        Of these.

    Raises
    ------
    FrameError, LibraryError, InputError
        Why nothing can be estimated.
    """
    lattice = host_lattice(library, image, context)
    declared, refuted = declared_angles(context), None
    if declared is not None and not FITTING_RATIO[0] < lattice.calibration.ratio < FITTING_RATIO[1]:
        # Nothing must rest on angles that the frame refutes, least of all which sublattice is which.
        refuted, declared = (declared, lattice.calibration.expected_ratio), None
        unknown = Missing("the declared angles do not fit the frame")
        context = msgspec.structs.replace(context, inner_mrad=unknown, outer_mrad=unknown)
        lattice = host_lattice(library, image, context)
    raw = measured(lattice)
    rng = np.random.default_rng([seed, 0])
    # What the ratio itself adds to its error is known only after rehearsals; for drawing angles a rough one does.
    rough = find_ridge(library, lattice.host, lattice.optics, raw.ratio, _ROUGH_SD)
    drawn = rough.points() if declared is None else np.array([declared])
    if not len(drawn):
        known = lattice.known.optics
        drawn = np.array([(known.inner_mrad, known.outer_mrad)])
    rehearsed = rehearse(library, lattice, drawn, rehearsals, rng)
    ratio, sigma, dose, pixel = _intervals(raw, rehearsed, witnesses(lattice))
    log_sd = float(np.log(ratio.high / ratio.low)) / (2 * stats.norm.ppf((1 + LEVEL) / 2))
    ridge = find_ridge(library, lattice.host, lattice.optics, ratio.value, log_sd)
    started = refuted[0] if refuted else declared
    near = started or (typical("inner_mrad"), typical("outer_mrad"))
    return Offers(
        lattice=lattice,
        ratio=ratio,
        sigma_angstrom=sigma,
        dose_e_per_angstrom2=dose,
        pixel_size_angstrom=pixel,
        ridge=ridge,
        angles_mrad=ridge.nearest(*near),
        rehearsals=len(rehearsed.errors),
        objections=tuple(_objections(lattice, ridge, refuted, pixel)),
    )


def _intervals(raw: Quantities, rehearsed: Rehearsals, seen: NDArray[np.float64]) -> list[Interval]:
    """Corrected by the errors of the rehearsals; the dose's by a line through them over the witnesses."""
    logs, count = raw.logarithms(), len(rehearsed.errors)
    found = []
    for k, errors in enumerate(rehearsed.errors.T):
        terms = np.ones((count, 1))
        here = np.ones(1)
        if k == _DOSE:
            middle, scale = rehearsed.witnesses.mean(axis=0), rehearsed.witnesses.std(axis=0) + 1e-9
            terms = np.column_stack([terms, (rehearsed.witnesses - middle) / scale])
            here = np.concatenate([here, (seen - middle) / scale])
        fit, *_ = np.linalg.lstsq(terms, errors, rcond=None)
        free = count - terms.shape[1]
        variance = float(np.sum((errors - terms @ fit) ** 2)) / free
        # Prediction interval of a linear regression.
        reach = float(here @ np.linalg.pinv(terms.T @ terms) @ here)
        half = float(stats.t.ppf((1 + LEVEL) / 2, free)) * np.sqrt(variance * (1 + reach))
        value = float(logs[k] - here @ fit)
        found.append(Interval(*(float(np.exp(value + side * half)) for side in (0, -1, 1))))
    return found


def _objections(
    lattice: HostLattice,
    ridge: Ridge,
    refuted: tuple[tuple[float, float], float] | None,
    pixel: Interval,
) -> list[str]:
    words = []
    if refuted is not None:
        (inner, outer), expected = refuted
        near = ridge.nearest(inner, outer)
        fit = (
            f"The nearest angles that fit are {near[0]:g}-{near[1]:g} mrad."
            if near
            else "No angles that the library answers for fit: check the host and the energy."
        )
        words.append(
            f"The declared angles {inner:g}-{outer:g} mrad do not fit: X2/M is {ridge.measured:.2f} in the frame, "
            f"{expected:.2f} is expected. {fit}"
        )
    elif not ridge.fits.any():
        words.append(
            f"No detector angles give X2/M = {ridge.measured:.2f} for {lattice.host.name}: "
            "check the host, the energy and that this is an annular dark-field image."
        )
    hint = lattice.context.pixel_size_angstrom
    if (
        isinstance(hint, Known)
        and not pixel.holds(hint.value)
        and abs(pixel.value / hint.value - 1) > PIXEL_SIZE_TOLD
    ):
        words.append(
            f"The given pixel size {hint.value:.4f} Å ({hint.source.value}) is outside "
            f"{pixel.low:.4f} to {pixel.high:.4f} Å by the lattice."
        )
    if lattice.grid.is_ambiguous:
        words.append(
            f"The sublattices may be named the wrong way round ({lattice.grid.naming}): X2/M may be "
            f"{1 / ridge.measured:.2f}."
        )
    missing = [
        n
        for n in ("high_tension_kv", "convergence_semi_angle_mrad")
        if isinstance(getattr(lattice.context, n), Missing)
    ]
    if missing:
        taken = ", ".join(f"{n} = {getattr(lattice.known.optics, n):g}" for n in missing)
        words.append(
            f"Not known and taken from the middle of what is plausible: {taken}. The ridge holds for that only."
        )
    return words
