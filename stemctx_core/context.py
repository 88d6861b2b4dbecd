"""The imaging context: what was imaged and how, each value known with its source or missing with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

import msgspec

from stemctx_core.chemistry import classes
from stemctx_core.chemistry.prevalence import Expected, check_prevalence
from stemctx_core.errors import InputError


class Source(StrEnum):
    """Where a value comes from."""

    FRAME = "frame metadata"
    INSTRUMENT = "instrument"
    USER = "user"
    FILE = "file"
    LATTICE = "lattice"


class Known(msgspec.Struct, frozen=True, tag="known", forbid_unknown_fields=True):
    """A value with its source.

    Attributes
    ----------
    value
        In the unit that the field's name states.
    source
        Who said so.
    detail
        The control, tag or option it was read from.
    """

    value: float
    source: Source
    detail: str = ""


class Missing(msgspec.Struct, frozen=True, tag="missing", forbid_unknown_fields=True):
    """A value that is not known, and why."""

    reason: str


Quantity = Known | Missing

#: What a value may lie between, to catch unit slips.
_PLAUSIBLE = {
    "high_tension_kv": (20.0, 400.0),
    "convergence_semi_angle_mrad": (5.0, 60.0),
    "inner_mrad": (5.0, 400.0),
    "outer_mrad": (10.0, 500.0),
    "pixel_size_angstrom": (0.01, 2.0),
    "dose_e_per_angstrom2": (1.0, 1e9),
}


class ImagingContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was imaged and how.

    Attributes
    ----------
    host
        Formula of the monolayer.
    dopants
        Elements looked for on the metal site.
    high_tension_kv, convergence_semi_angle_mrad, inner_mrad, outer_mrad
        Probe and annular detector (inner and outer collection semi-angle).
    pixel_size_angstrom
        As calibrated; checked against the lattice.
    dose_e_per_angstrom2
        As the instrument gives it; the classifier uses the dose that it finds in the frame's own noise.
    channel
        Name of the detector channel, for the record.
    expected
        How often roles or species are expected, where that is not the usual.
    """

    host: str
    dopants: tuple[str, ...]
    high_tension_kv: Quantity
    convergence_semi_angle_mrad: Quantity
    inner_mrad: Quantity
    outer_mrad: Quantity
    pixel_size_angstrom: Quantity = Missing("not given")
    dose_e_per_angstrom2: Quantity = Missing("not given")
    channel: str = ""
    expected: Expected = Expected()

    def quantities(self) -> Iterator[tuple[str, Quantity]]:
        """Name and value of every physical quantity."""
        for name in _PLAUSIBLE:
            yield name, getattr(self, name)

    def missing(self) -> dict[str, str]:
        """What the classifier cannot do without and is not known: name to reason."""
        needed = ("high_tension_kv", "convergence_semi_angle_mrad", "inner_mrad", "outer_mrad")
        return {name: q.reason for name in needed if isinstance(q := getattr(self, name), Missing)}

    def value(self, name: str) -> float:
        """A quantity that must be known; raise `InputError` with its reason where it is not."""
        quantity = getattr(self, name)
        if isinstance(quantity, Missing):
            raise InputError(f"{_spoken(name)} is not known: {quantity.reason}. Give it.")
        return float(quantity.value)

    def validated(self) -> ImagingContext:
        """Itself, after host, elements and every known number were found usable.

        Raises
        ------
        InputError
            What is wrong and the fix; a number a thousand times off names the unit slip.
        """
        check_prevalence(self.expected.prevalence, self.candidates)
        for name, quantity in self.quantities():
            if isinstance(quantity, Missing):
                continue
            low, high = _PLAUSIBLE[name]
            if not (math.isfinite(quantity.value) and low <= quantity.value <= high):
                raise InputError(
                    f"{_spoken(name)} of {quantity.value:g} ({quantity.source}) cannot be: expected {low:g} to {high:g}. "
                    "Check the unit."
                )
        inner, outer = self.inner_mrad, self.outer_mrad
        if isinstance(inner, Known) and isinstance(outer, Known) and inner.value >= outer.value:
            raise InputError(
                f"The inner angle ({inner.value:g} mrad) is not below the outer angle ({outer.value:g} mrad). Swap them?"
            )
        return self

    @property
    def as_imaged(self) -> ImagingContext:
        """Without what is expected: frames that agree in the rest show the same, and are added up."""
        return msgspec.structs.replace(self, expected=Expected())

    @property
    def candidates(self) -> tuple[classes.Candidate, ...]:
        """Candidate list that the host and the dopants give."""
        return _candidates(self.host, self.dopants)


@lru_cache(maxsize=64)
def _candidates(host: str, dopants: tuple[str, ...]) -> tuple[classes.Candidate, ...]:
    return classes.candidates(host, dopants)


def known(value: float | None, source: Source, detail: str = "", reason: str = "not given") -> Quantity:
    """`Known` where there is a value, `Missing` with the reason where there is none."""
    return Missing(reason) if value is None else Known(float(value), source, detail)


def declared_angles(context: ImagingContext) -> tuple[float, float] | None:
    """Inner and outer collection semi-angle (mrad); None where one of them is missing."""
    inner, outer = context.inner_mrad, context.outer_mrad
    return (inner.value, outer.value) if isinstance(inner, Known) and isinstance(outer, Known) else None


def _spoken(name: str) -> str:
    words = name.rsplit("_", 1)[0] if name.rsplit("_", 1)[-1] in {"kv", "mrad", "angstrom"} else name
    return words.replace("_", " ").capitalize()
