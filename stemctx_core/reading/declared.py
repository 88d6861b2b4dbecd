"""What is declared of an image besides what its file says: options, and TOML files beside it.

``frame.toml`` beside ``frame.dm4`` is about that file, ``stemctx.toml`` about its folder. Options go before both, the
first before the second, and all of them before the file's own metadata. Where two of them differ, that is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from stemctx_core.context import ImagingContext, Known, Missing, Quantity, Source
from stemctx_core.dose import dose_e_per_angstrom2
from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.reading.values import FileValues

FOLDER_FILE: Final = "stemctx.toml"
#: A page of text. Reading a name of many dotted parts takes the square of its length in memory.
_MOST_BYTES: Final = 16_384
#: Values that differ by less are the same, rounded.
SAME: Final = 0.01


class DetectorAngles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Collection semi-angles of one detector (mrad)."""

    inner_mrad: float | None = None
    outer_mrad: float | None = None


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user says of images; what is left out is asked for elsewhere.

    Attributes
    ----------
    host, candidates
        Formula of the monolayer; elements looked for on the metal site.
    high_tension_kv, convergence_mrad, inner_mrad, outer_mrad, pixel_size_angstrom
        As of `ImagingContext`.
    dwell_us, probe_current_pa, dose_e_per_angstrom2
        The dose, or what it follows from.
    detectors
        Angles by detector, for files that hold several or are named after them; only these are judged.
    together
        Whether the detectors of one scan are judged by all of them together.
    """

    host: str | None = None
    candidates: tuple[str, ...] | None = None
    high_tension_kv: float | None = None
    convergence_mrad: float | None = None
    inner_mrad: float | None = None
    outer_mrad: float | None = None
    pixel_size_angstrom: float | None = None
    dwell_us: float | None = None
    probe_current_pa: float | None = None
    dose_e_per_angstrom2: float | None = None
    detectors: dict[str, DetectorAngles] = msgspec.field(default_factory=dict)
    together: bool | None = None


class Told(NamedTuple):
    """What was declared, and the file where; empty for options."""

    declared: Declared
    where: str = ""


class _Field(NamedTuple):
    said: str
    declared: str
    words: str

    @property
    def option(self) -> str:
        return "--" + self.declared.replace("_", "-")


_FIELDS: Final = (
    _Field("high_tension_kv", "high_tension_kv", "high tension (kV)"),
    _Field("convergence_semi_angle_mrad", "convergence_mrad", "convergence semi-angle (mrad)"),
    _Field("inner_mrad", "inner_mrad", "inner angle (mrad)"),
    _Field("outer_mrad", "outer_mrad", "outer angle (mrad)"),
    _Field("pixel_size_angstrom", "pixel_size_angstrom", "pixel size (Å)"),
    _Field("dwell_us", "dwell_us", "dwell time (µs)"),
    _Field("probe_current_pa", "probe_current_pa", "probe current (pA)"),
)


def told_of(path: Path, options: Declared | None = None) -> tuple[Told, ...]:
    """What is declared of a file, what counts most first.

    Raises
    ------
    InputError
        A TOML file that cannot be read or holds what is not known.
    """
    beside = dict.fromkeys((path.with_suffix(".toml"), path.with_name(FOLDER_FILE)))
    return (Told(options or Declared()), *(Told(_load(p), p.name) for p in beside if p.is_file()))


def _load(path: Path) -> Declared:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is too large to be a description of images. Is it another file?")
        return msgspec.toml.decode(path.read_bytes(), type=Declared)
    except (OSError, RecursionError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        known = ", ".join(f for f in Declared.__struct_fields__)
        raise InputError(f"{path} cannot be used: {error}. It may hold {known}.") from error


def detectors(told: Sequence[Told]) -> tuple[str, ...]:
    """Names of the detectors that are declared, each once."""
    return tuple(dict.fromkeys(name for t in told for name in t.declared.detectors))


def together(told: Sequence[Told]) -> bool:
    """Whether the detectors of one scan are judged together."""
    return next((t.declared.together for t in told if t.declared.together is not None), False)


def context_of(
    said: FileValues, told: Sequence[Told], detector: str = "", channel: str = ""
) -> tuple[ImagingContext, tuple[str, ...]]:
    """Context of an image, each value with its source, and what is to be told: where sources differ.

    Parameters
    ----------
    said
        What the file says.
    told
        What is declared, what counts most first.
    detector
        Whose angles are meant, where some are declared by detector.
    channel
        For the record.

    Raises
    ------
    InputError
        No host is declared, or the context is not usable.
    """
    chosen: dict[str, Quantity] = {}
    notes = []
    for field in _FIELDS:
        own = getattr(said, field.said)
        values = [v for t in told if (v := _declared(t, field, detector)) is not None]
        values += [own] if isinstance(own, Known) else []
        if not values:
            chosen[field.said] = _missing(field, own)
            continue
        chosen[field.said] = values[0]
        notes += [
            f"{field.words[0].upper()}{field.words[1:]}: {values[0].value:g} by {_where(values[0])}, "
            f"{other.value:g} by {_where(other)}; the first is used."
            for other in values[1:]
            if abs(other.value / values[0].value - 1) > SAME
        ]
    host = next((t.declared.host for t in told if t.declared.host), None)
    if host is None:
        raise InputError(f"No host material was given. Give --host, or host in {FOLDER_FILE} beside the file.")
    candidates: tuple[str, ...] = next(
        (t.declared.candidates for t in told if t.declared.candidates is not None), ()
    )
    context = ImagingContext(
        host=host,
        dopants=candidates,
        high_tension_kv=chosen["high_tension_kv"],
        convergence_semi_angle_mrad=chosen["convergence_semi_angle_mrad"],
        inner_mrad=chosen["inner_mrad"],
        outer_mrad=chosen["outer_mrad"],
        pixel_size_angstrom=chosen["pixel_size_angstrom"],
        dose_e_per_angstrom2=_dose(told, chosen),
        channel=channel,
    )
    return context.validated(), tuple(notes)


def _declared(told: Told, field: _Field, detector: str) -> Known | None:
    """What one source declares of a quantity; angles of the detector go before angles of all."""
    angles = told.declared.detectors.get(detector)
    value = getattr(angles, field.declared, None) if angles else None
    option = f"--detector {detector}"
    if value is None:
        value, option = getattr(told.declared, field.declared), field.option
    if value is None:
        return None
    return Known(float(value), Source.USER, told.where or option)


def _missing(field: _Field, own: Missing) -> Missing:
    if field.said == "pixel_size_angstrom":
        return own
    return Missing(f"{own.reason}, and {field.option} was not given")


def _where(value: Known) -> str:
    return f"the file ({value.detail})" if value.source is Source.FILE else value.detail


def _dose(told: Sequence[Told], chosen: Mapping[str, Quantity]) -> Quantity:
    """Dose as declared, or electrons of the beam in the dwell time on the area of a pixel."""
    for t in told:
        if t.declared.dose_e_per_angstrom2 is not None:
            return Known(t.declared.dose_e_per_angstrom2, Source.USER, t.where or "--dose-e-per-angstrom2")
    current, dwell, pixel = (chosen[n] for n in ("probe_current_pa", "dwell_us", "pixel_size_angstrom"))
    if not (isinstance(current, Known) and isinstance(dwell, Known) and isinstance(pixel, Known)):
        return Missing("probe current, dwell time and pixel size are not all known")
    dose = dose_e_per_angstrom2(current.value * 1e-12, dwell.value, pixel.value)
    if not 1.0 <= dose <= 1e9:
        return Missing(f"probe current, dwell time and pixel size give {formats.dose(dose)}, which cannot be")
    return Known(dose, current.source, f"{current.detail} times dwell time over the pixel")
